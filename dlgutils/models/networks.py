"""The networks under attack, their initialisers, and dropout whose mask is a named tensor."""

import copy
import itertools
import math

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import softplus

from dlgutils.types import Tensors


class Dropout(nn.Module):
    """Dropout with a mask that is a value: the input times a buffer named `mask`, all ones unless replaced.

    `torch.func.functional_call(model, {**weights, **masks}, (x,))` replaces it, so who knows which mask is visible in the
    call. Nothing is drawn here and `train()`/`eval()` change nothing: ones are eval mode, `draw_masks` draws training
    masks (Srivastava et al. 2014; scaled by 1/(1 − p) as in `torch.nn.Dropout`).
    """

    def __init__(self, p: float, features: tuple[int, ...]):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout needs a rate in [0, 1), got {p}; 0 keeps every unit")
        self.p = p
        self.register_buffer("mask", torch.ones(features), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x times the mask; x: `(batch, *features)`, mask: `(*features)` or `(batch, *features)`."""
        return x * self.mask

    def extra_repr(self) -> str:
        """What `print(model)` shows of the layer."""
        return f"p={self.p}, features={tuple(self.mask.shape)}"


def dropouts(model: nn.Module) -> dict[str, Dropout]:
    """The model's `Dropout` layers by the name of their mask, e.g. {"dropout.mask": Dropout(...)}."""
    return {f"{name}.mask": m for name, m in model.named_modules() if isinstance(m, Dropout)}


def active_dropouts(model: nn.Module) -> dict[str, Dropout]:
    """Those of `dropouts` that drop anything, with p > 0: the layers for which a client draws masks."""
    return {name: layer for name, layer in dropouts(model).items() if layer.p > 0}


def draw_masks(model: nn.Module, batch: int, generator: Generator | None) -> dict[str, Tensor]:
    """One fresh mask per image and dropout layer, by name, each `(batch, *features)`, entries 0 or 1/(1 − p).

    Drawn on the CPU from `generator`, then moved to where the layer lies. Layers with p = 0 get no mask.
    Raises ValueError if a mask must be drawn and no generator came.
    """
    layers = active_dropouts(model)
    if layers and generator is None:
        raise ValueError(
            f"{', '.join(layers)}: dropout draws its mask from a generator and none came; "
            "pass torch.Generator().manual_seed(0)"
        )
    return {
        name: (torch.rand((batch, *layer.mask.shape), generator=generator) >= layer.p).to(
            layer.mask
        )
        / (1 - layer.p)
        for name, layer in layers.items()
    }


def expose_dropout(model: nn.Module, x_shape: tuple[int, ...]) -> nn.Module:
    """A copy of `model` in which every `nn.Dropout` is a `Dropout` whose mask has a name.

    x_shape: (channels, height, width) of one image; one forward pass of a zero image finds the shapes of the masks.
    Raises ValueError for a dropout layer that is never reached, is called twice, has p = 1, or drops whole channels
    (`nn.Dropout2d` and the like), since one named mask of the features' shape would not say what it does.
    Fused attention (`scaled_dot_product_attention`) has no second derivative on the CPU: attack such a model within
    `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`, wrapped around `invert`.
    """
    model = copy.deepcopy(model)
    layers = {
        name: m for name, m in model.named_modules() if isinstance(m, nn.modules.dropout._DropoutNd)
    }
    shapes: dict[str, list[tuple[int, ...]]] = {name: [] for name in layers}
    hooks = [
        m.register_forward_pre_hook(
            lambda _, x, seen=shapes[name]: seen.append(tuple(x[0].shape[1:]))
        )
        for name, m in layers.items()
    ]
    like = next(model.parameters())
    training = [m for m in model.modules() if m.training]
    model.eval()
    try:
        with torch.no_grad():
            model(like.new_zeros(1, *x_shape))
    except RuntimeError as error:
        raise ValueError(
            f"the model does not take images of shape {tuple(x_shape)}: {error}; pass (channels, height, width) of one image"
        ) from error
    for m in training:
        m.training = True
    for hook in hooks:
        hook.remove()
    for name, layer in layers.items():
        if type(layer) is not nn.Dropout or len(shapes[name]) != 1:
            raise ValueError(
                f"{name} is a {type(layer).__name__} called {len(shapes[name])} times in a forward pass; "
                "only nn.Dropout layers called once can be exposed: use one nn.Dropout per place"
            )
        _replace(model, layer, _exposed(name, layer.p, shapes[name][0]).to(like))
    return model


class SmoothReLU(nn.Module):
    """ReLU with a rounded corner: softplus, over 1/sharpness of the root mean square of what comes in."""

    def __init__(self, sharpness: float = 16.0):
        super().__init__()
        if not sharpness > 0:
            raise ValueError(f"sharpness must be positive, got {sharpness}")
        self.sharpness = sharpness

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; returns the same shape."""
        width = (x.square().mean() + torch.finfo(x.dtype).tiny).sqrt() / self.sharpness
        return width * softplus(x / width)


def smooth_relu(model: nn.Module, sharpness: float = 16.0) -> nn.Module:
    """A copy of `model` in which every `nn.ReLU` is a `SmoothReLU`: a model for the attacker, with the same parameters.

    The slope of ReLU jumps where a unit switches on, and the slope of the matching loss, which autograd computes between
    the jumps, does not see them; rounded corners let an optimiser see that a unit is about to switch. The larger
    `sharpness`, the nearer to the client's network. Raises ValueError for a model without `nn.ReLU` layers.
    """
    model = copy.deepcopy(model)
    corners = [layer for layer in model.modules() if isinstance(layer, nn.ReLU)]
    if not corners:
        raise ValueError(
            f"this {type(model).__name__} has no nn.ReLU layer to round; functional calls such as F.relu(x) cannot be seen: "
            "make them layers, or attack the model as it is"
        )
    for layer in corners:
        _replace(model, layer, SmoothReLU(sharpness))
    return model


def _exposed(name: str, p: float, features: tuple[int, ...]) -> Dropout:
    try:
        return Dropout(p, features)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put `new` wherever the model has `old`, under each of its names."""
    for name, _ in [item for item in model.named_modules(remove_duplicate=False) if item[1] is old]:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, new)


class LeNet(nn.Module):
    """The small sigmoid network that DLG and iDLG attack; make it with `lenet`."""

    def __init__(
        self,
        x_shape: tuple[int, int, int],
        classes: int,
        dropout: float,
        activation: type[nn.Module],
    ):
        super().__init__()
        channels, height, width = x_shape
        features = 12 * math.ceil(height / 4) * math.ceil(width / 4)
        self.x_shape = tuple(x_shape)
        self.body = nn.Sequential(
            nn.Conv2d(channels, 12, 5, stride=2, padding=2),
            activation(),
            nn.Conv2d(12, 12, 5, stride=2, padding=2),
            activation(),
            nn.Conv2d(12, 12, 5, stride=1, padding=2),
            activation(),
        )
        self.dropout = Dropout(dropout, (features,))
        self.fc = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (batch, classes), of images (batch, *x_shape)."""
        _check_images(x, self.x_shape, "lenet")
        return self.fc(self.dropout(self.body(x).flatten(1)))


def lenet(
    x_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 12,
    *,
    dropout: float = 0.0,
    activation: type[nn.Module] = nn.Sigmoid,
) -> LeNet:
    """The LeNet of DLG's public code: three 5×5 convolutions of 12 channels with strides 2, 2, 1, and one linear layer.

    x_shape: (channels, height, width), any size; (1, 28, 28) has 588 features before the classifier, (3, 32, 32) has 768.
    dropout: rate of Zheng's extra layer before the classifier (arXiv:2108.11106), 0 for none.
    Source of the architecture: Zhu, Liu & Han 2019, arXiv:1906.08935.
    """
    return LeNet(x_shape, classes, dropout, activation)


class MLP(nn.Module):
    """A fully connected network; make it with `mlp`."""

    def __init__(
        self,
        x_shape: tuple[int, int, int],
        hidden: tuple[int, ...],
        classes: int,
        dropout: float,
        activation: type[nn.Module],
    ):
        super().__init__()
        self.x_shape = tuple(x_shape)
        widths = (math.prod(x_shape), *hidden)
        layers = [
            layer
            for n_in, n_out in itertools.pairwise(widths)
            for layer in (nn.Linear(n_in, n_out), activation(), Dropout(dropout, (n_out,)))
        ]
        self.body = nn.Sequential(*layers)
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (batch, classes), of images (batch, *x_shape)."""
        _check_images(x, self.x_shape, "mlp")
        return self.fc(self.body(x.flatten(1)))


def mlp(
    x_shape: tuple[int, int, int] = (3, 32, 32),
    hidden: tuple[int, ...] = (256,),
    classes: int = 12,
    *,
    dropout: float = 0.0,
    activation: type[nn.Module] = nn.Sigmoid,
) -> MLP:
    """A fully connected network with dropout after each hidden layer; its first layer leaks its input exactly."""
    return MLP(x_shape, hidden, classes, dropout, activation)


def _check_images(x: Tensor, x_shape: tuple[int, ...], maker: str) -> None:
    if x.shape[1:] != x_shape:
        raise ValueError(
            f"got images of shape {tuple(x.shape[1:])}, this network was built for {x_shape}; "
            f"build one for them: models.{maker}(x_shape={tuple(x.shape[1:])})"
        )


def init_default(model: nn.Module, generator: Generator) -> nn.Module:
    """A copy of `model` with fresh weights as PyTorch initialises them, drawn from `generator` on the CPU.

    Every layer's own `reset_parameters` runs, so any model is served; parameters of layers without one are kept. For
    convolutions and linear layers that is U(−1/√fan_in, 1/√fan_in). The global random state is left as it was.
    """
    fresh = copy.deepcopy(model).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        for layer in fresh.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    return fresh.to(next(model.parameters()))


def init_uniform(model: nn.Module, generator: Generator, bound: float = 0.5) -> nn.Module:
    """A copy of `model` whose weights *and biases* are U(−bound, bound): the papers' wide weights at 0.5.

    Source: the public code of Zhu, Liu & Han 2019, arXiv:1906.08935.
    """
    fresh = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.copy_((torch.rand(parameter.shape, generator=generator) * 2 - 1) * bound)
    return fresh


def weights(model: nn.Module) -> Tensors:
    """A detached copy of the model's parameters, {name: tensor}."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}
