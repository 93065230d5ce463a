"""Dropout whose mask is a named tensor: made, drawn, and exposed in a user's own models."""

import copy

import torch
from torch import Generator, Tensor, nn

from dlgutils.models.modules import Call, observe, replace_module
from dlgutils.models.wrappers import unwrapped

_OF_CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


class Dropout(nn.Module):
    """Dropout with a mask that is a value: the input times a buffer `mask`, all ones by default.

    `torch.func.functional_call(model, {**weights, **masks}, (x,))` replaces it, so the call shows
    who knows which mask. Nothing is drawn here, and `train()` and `eval()` change nothing: a mask
    of ones is eval mode, and `draw_masks` draws the masks of training, scaled by 1/(1 − p) as in
    `torch.nn.Dropout` (Srivastava et al. 2014, jmlr.org/papers/v15/srivastava14a.html).
    """

    def __init__(self, p: float, features: tuple[int, ...]):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout needs a rate in [0, 1), got {p}; 0 keeps every unit")
        self.p = p
        self.register_buffer("mask", torch.ones(features), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x times the mask; x: `(batch, *features)`, mask: a shape that is broadcast to it."""
        return x * self.mask

    def extra_repr(self) -> str:
        """What `print(model)` shows of the layer."""
        return f"p={self.p}, features={tuple(self.mask.shape)}"


def dropouts(model: nn.Module) -> dict[str, Dropout]:
    """The model's `Dropout` layers by the name of their mask, e.g. {"dropout.mask": Dropout()}."""
    found = {}
    for name, module in unwrapped(model).named_modules():
        if isinstance(module, Dropout):
            found[f"{name}.mask"] = module
    return found


def active_dropouts(model: nn.Module) -> dict[str, Dropout]:
    """The layers of `dropouts` with p > 0: those for which a client draws masks."""
    return {name: layer for name, layer in dropouts(model).items() if layer.p > 0}


def draw_masks(model: nn.Module, batch: int, generator: Generator | None) -> dict[str, Tensor]:
    """One fresh mask per image and dropout layer, `{name: (batch, *features)}` of 0 and 1/(1 − p).

    Drawn on the CPU from `generator`, then moved to the layer's device. Layers with p = 0 get no
    mask. Raises ValueError if a mask must be drawn and no generator came.
    """
    layers = active_dropouts(model)
    if layers and generator is None:
        raise ValueError(
            f"{', '.join(layers)}: dropout draws its mask from a generator and none came; "
            "pass torch.Generator().manual_seed(0)"
        )
    masks = {}
    for name, layer in layers.items():
        shape = (batch, *layer.mask.shape)
        uniform = torch.rand(shape, generator=generator)
        kept = uniform >= layer.p
        masks[name] = kept.to(layer.mask) / (1 - layer.p)
    return masks


def expose_dropout(model: nn.Module, x_shape: tuple[int, ...]) -> nn.Module:
    """A copy of `model` in which every dropout layer is a `Dropout` whose mask has a name.

    x_shape: (channels, height, width) of one image; one forward pass of a zero image in eval mode
    finds the shapes of the masks. Raises ValueError for images that the model does not take, and
    for a dropout layer that is never reached, is called twice, has p = 1, or is an
    `nn.AlphaDropout`, which no mask describes. The mask of `nn.Dropout2d` and its like, which drop
    whole channels, has one number for each: (channels, 1, 1).

    Dropout inside `nn.MultiheadAttention`, and as a function in `forward`, is no layer and stays:
    `share` refuses it by name.
    """
    model = copy.deepcopy(unwrapped(model))
    like = next(model.parameters())
    calls = _observe_in_eval_mode(model, like.new_zeros(1, *x_shape))
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            calls_of_layer = [call for call in calls if call.module is layer]
            exposed = _expose(name, layer, calls_of_layer)
            replace_module(model, layer, exposed.to(like))
    return model


def _observe_in_eval_mode(model: nn.Module, x: Tensor) -> list[Call]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        calls, _ = observe(model, x)
    except (RuntimeError, AssertionError) as error:  # which some networks make of sizes
        raise ValueError(
            f"the model does not take images of shape {tuple(x.shape[1:])}: {error}; "
            "pass (channels, height, width) of one image"
        ) from error
    for module in training:  # not model.train(): parts of a model may be frozen
        module.training = True
    return calls


def _expose(name: str, layer: nn.Module, calls: list[Call]) -> Dropout:
    """The `Dropout` that replaces a dropout layer of PyTorch, given the calls of that layer."""
    if type(layer) not in (nn.Dropout, *_OF_CHANNELS) or len(calls) != 1:
        raise ValueError(
            f"{name} is a {type(layer).__name__} called {len(calls)} times in a forward pass; "
            "only nn.Dropout and nn.Dropout1d to 3d called once can be exposed: "
            "use one nn.Dropout per place"
        )
    features = tuple(calls[0].input.shape[1:])
    if type(layer) in _OF_CHANNELS:
        features = _one_per_channel(name, layer, features)
    try:
        return Dropout(layer.p, features)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _one_per_channel(name: str, layer: nn.Module, features: tuple[int, ...]) -> tuple[int, ...]:
    if len(features) < 2:
        raise ValueError(
            f"{name} is a {type(layer).__name__} that gets features of shape {features}, which "
            "have no channels to drop; use nn.Dropout there"
        )
    return (features[0], *(1 for _ in features[1:]))
