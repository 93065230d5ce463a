"""The honest client: one batch, one loss, one gradient, and what leaves the device."""

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call, grad
from torch.nn.functional import cross_entropy

from dlgutils import models
from dlgutils.types import Batch, Shared, Tensors

_NO_MASKS: Tensors = {}


def loss(weights: Tensors, model: nn.Module, x: Tensor, y: Tensor, masks: Tensors = _NO_MASKS) -> Tensor:
    """Mean cross-entropy of the model with these weights and masks: a scalar.

    x: (batch, channels, height, width); y: (batch,) class ids or (batch, classes) probabilities; masks: by name, each
    `(batch, *features)`, a missing one is all ones. Raises ValueError for a mask that the model does not have.
    """
    unknown = masks.keys() - models.dropouts(model).keys() if masks else ()
    if unknown:
        raise ValueError(
            f"no mask is called {', '.join(sorted(unknown))}; this model has {list(models.dropouts(model)) or 'none'} "
            "(models.expose_dropout names the masks of nn.Dropout layers)"
        )
    return cross_entropy(functional_call(model, {**weights, **masks}, (x,)), y)


def gradient(weights: Tensors, model: nn.Module, x: Tensor, y: Tensor, masks: Tensors = _NO_MASKS) -> Tensors:
    """∂loss/∂weights, {name: tensor}. The client computes it once; an attacker recomputes it for every guess."""
    return grad(loss)(weights, model, x, y, masks)


def share(model: nn.Module, batch: Batch, generator: Generator | None = None, *, reveal_masks: bool = False) -> Shared:
    """One honest round: the model's weights, and the gradient of the mean cross-entropy on the batch.

    Dropout layers with p > 0 draw one mask per image from `generator`. With reveal_masks=True the masks are handed over
    too: an oracle experiment. Device and dtype follow the model and the batch, which must agree.
    Raises ValueError for images outside [0, 1] or of a shape or dtype that the model does not take, labels out of range,
    dropout without a generator, and models that draw random numbers by themselves, mix the images of a batch, have no
    parameters, or are no classifiers.
    """
    _check_model(model)
    masks = models.draw_masks(model, len(batch.x), generator)
    batch = batch._replace(x=batch.x.detach())
    _check_batch(model, batch)
    weights = models.weights(model)
    g = gradient(weights, model, batch.x, batch.y, masks)
    return Shared(weights, g, tuple(batch.x.shape), masks if reveal_masks else None)


def check(model: nn.Module, *rounds: Shared) -> None:
    """Raises ValueError unless all `rounds` are usable gradients of this model: names, shapes, finite, not all zero.

    The model must be one that `share` takes, for images of their `x_shape`.
    """
    _check_model(model)
    for shared in rounds:
        _check_tensors(model, shared)
        check_gradient(shared)
    for x_shape in {tuple(shared.x_shape) for shared in rounds}:
        _count_classes(model, x_shape)


def _check_tensors(model: nn.Module, shared: Shared) -> None:
    expected = {name: tuple(p.shape) for name, p in model.named_parameters()}
    for what in ("weights", "gradient"):
        got = {name: tuple(t.shape) for name, t in getattr(shared, what).items()}
        wrong = [name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name)]
        if wrong:
            name = min(wrong)
            raise ValueError(
                f"the {what} of another model: {name} is {got.get(name, 'missing')} there and "
                f"{expected.get(name, 'missing')} in this model ({len(wrong)} of {len(expected)} tensors differ); "
                "attack with the model that the client trained"
            )
    kinds = {f"{t.dtype} on {t.device}" for t in (*shared.weights.values(), *shared.gradient.values())}
    if len(kinds) > 1:
        raise ValueError(
            f"weights and gradient are of one dtype and on one device, "
            f"got {' and '.join(sorted(kinds))}; move one to the other"
        )


def check_gradient(shared: Shared) -> None:
    """Raises ValueError for a gradient with NaN or inf in it, and for one that is zero everywhere."""
    for name, g in shared.gradient.items():
        if not g.isfinite().all():
            raise ValueError(
                f"the gradient of {name} has {int((~g.isfinite()).sum())} NaN or inf among its {g.numel()} numbers; "
                "an attack can only match finite numbers: look at the client's weights and images"
            )
    if not any(g.any() for g in shared.gradient.values()):
        raise ValueError("the gradient is zero everywhere, so it tells nothing: was the loss multiplied by zero?")


def _check_model(model: nn.Module) -> None:
    if next(model.parameters(), None) is None:
        raise ValueError(
            f"this {type(model).__name__} has no parameters, hence no gradient to share; give it a layer that learns"
        )
    once = {name for name, _ in model.named_modules()}
    for name, layer in model.named_modules(remove_duplicate=False):
        if name not in once and next(layer.parameters(), None) is not None:
            raise ValueError(
                f"{name} is a {type(layer).__name__} that the model has under another name too: torch.func would damage it; "
                "keep it under one name, and call it twice in forward"
            )
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is None:
            raise ValueError(
                f"{name} is a {type(layer).__name__} without running statistics: it mixes the images of a batch even in "
                "eval mode; build it with track_running_stats=True and use model.eval(), or use GroupNorm"
            )
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training:
            raise ValueError(
                f"{name} is a {type(layer).__name__} in train mode: it mixes the images of a batch and changes itself at "
                "each call; put the model in eval mode (model.eval()) to share a gradient of fixed statistics"
            )
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.training and layer.p > 0:
            raise ValueError(
                f"{name} is an active {type(layer).__name__}, which redraws its mask in secret at each call; "
                "use models.expose_dropout(model, x_shape), or model.eval() to switch it off"
            )


def _count_classes(model: nn.Module, x_shape: tuple[int, ...]) -> int:
    """The number of classes, from a forward pass of one zero image, which may draw no random numbers."""
    zero = next(model.parameters()).new_zeros(1, *x_shape[1:])
    with torch.no_grad(), torch.random.fork_rng(devices=[zero.device] if zero.is_cuda else []):
        before = _random_states(zero)
        try:
            z = model(zero)
        except RuntimeError as error:
            raise ValueError(
                f"the model does not take images of shape {tuple(x_shape[1:])}: {error}; "
                "resize them or build a model for them"
            ) from error
        drew = not all(b.equal(a) for b, a in zip(before, _random_states(zero), strict=True))
    if drew:
        raise ValueError(
            "the model draws random numbers in its forward pass, so no attacker could repeat it; "
            "make it an nn.Dropout layer for models.expose_dropout, or switch it off with model.eval()"
        )
    if z.ndim != 2:
        raise ValueError(f"a classifier returns (batch, classes), this model returned {tuple(z.shape)}; flatten before it")
    return z.shape[1]


def _random_states(like: Tensor) -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(like.device)] if like.is_cuda else [])]


def _check_batch(model: nn.Module, batch: Batch) -> None:
    x, y = batch
    like = next(model.parameters())
    if x.ndim != 4 or len(x) == 0:
        raise ValueError(f"images have the shape (batch, channels, height, width), got {tuple(x.shape)}; try x[None]")
    if (x.dtype, x.device) != (like.dtype, like.device):
        raise ValueError(
            f"images are {x.dtype} on {x.device}, the model is {like.dtype} on {like.device}; "
            f"move one to the other: Batch(x.to({like.dtype}), y) or model.to(x)"
        )
    low, high = float(x.min()), float(x.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"images have values in [0, 1], got {low:.3g} to {high:.3g}; divide bytes by 255")
    if (y.shape, y.dtype, y.device) != ((len(x),), torch.int64, x.device):
        raise ValueError(
            f"labels are int64 class ids of shape ({len(x)},) on {x.device}, "
            f"got {y.dtype} of shape {tuple(y.shape)} on {y.device}"
        )
    classes = _count_classes(model, x.shape)
    if not ((y >= 0) & (y < classes)).all():
        raise ValueError(f"labels lie in 0 … {classes - 1} for this model, got {int(y.min())} to {int(y.max())}")
