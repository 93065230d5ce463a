"""What a round must be before anyone computes with it: errors name the value and the way out."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dlgutils.federated.batch_checks import check_images, check_targets
from dlgutils.federated.local_training import trained_names
from dlgutils.protocol import Loss
from dlgutils.types import Batch, Shared, Tensors


def check(model: nn.Module, *rounds: Shared) -> None:
    """Raises ValueError unless all `rounds` are usable gradients of this model.

    Names and shapes are those of the model, all numbers are finite, and not all are zero. Of a
    partial update, the gradient has only some of the names, and at least one. The model must be one
    that `share` takes, for images of their `x_shape`.
    """
    check_model(model)
    for shared in rounds:
        _check_names_and_shapes(model, "weights", shared.weights)
        _check_part(model, shared.gradient)
        _check_one_kind(shared)
        check_gradient(shared)
    for shared in rounds:
        _check_protocol(model, shared)
    for x_shape, loss in {(tuple(shared.x_shape), shared.protocol.loss) for shared in rounds}:
        outputs = _outputs_of_zeros(model, x_shape)
        if loss is cross_entropy:
            _check_logits(outputs)


def check_gradient(shared: Shared) -> None:
    """Raises ValueError for a gradient with NaN or inf in it, or one that is zero everywhere."""
    for name, g in shared.gradient.items():
        wrong = int((~g.isfinite()).sum())
        if wrong:
            raise ValueError(
                f"the gradient of {name} has {wrong} NaN or inf among its {g.numel()} numbers; an "
                "attack can only match finite numbers: look at the client's weights and images"
            )
    if not any(g.any() for g in shared.gradient.values()):
        raise ValueError(
            "the gradient is zero everywhere, so it is of no use: was the loss multiplied by zero?"
        )


def check_model(model: nn.Module) -> None:
    """Raises ValueError for a model whose gradient nobody could recompute, or that has none."""
    if next(model.parameters(), None) is None:
        raise ValueError(
            f"this {type(model).__name__} has no parameters, hence no gradient to share; "
            "give it a layer that learns"
        )
    once = {name for name, _ in model.named_modules()}
    for name, layer in model.named_modules(remove_duplicate=False):
        if name not in once and next(layer.parameters(), None) is not None:
            raise ValueError(
                f"{name} is a {type(layer).__name__} that the model has under another name too: "
                "torch.func would damage it; keep it under one name, and call it twice in forward"
            )
        _check_layer(name, layer)


def check_batch(model: nn.Module, batch: Batch, loss: Loss = cross_entropy) -> None:
    """Raises ValueError for images that the model does not take, or targets that `loss` does not.

    Cross-entropy is for classifiers.
    """
    x, y = batch
    check_images(next(model.parameters()), x)
    outputs = _outputs_of_zeros(model, x.shape)
    if loss is cross_entropy:
        _check_logits(outputs)
    check_targets(loss, outputs.expand(len(x), *outputs.shape[1:]), y)


def _outputs_of_zeros(model: nn.Module, x_shape: tuple[int, ...]) -> Tensor:
    """What the model makes of one image of zeros, (1, ...).

    Raises ValueError if the model does not take images of this shape, (batch, channels, height,
    width), or draws random numbers in its forward pass.
    """
    zero = next(model.parameters()).new_zeros(1, *x_shape[1:])
    with torch.no_grad(), torch.random.fork_rng(devices=[zero.device] if zero.is_cuda else []):
        before = _random_states(zero)
        try:
            outputs = model(zero)
        except RuntimeError as error:
            raise ValueError(
                f"the model does not take images of shape {tuple(x_shape[1:])}: {error}; "
                "resize them or build a model for them"
            ) from error
        drew = not all(b.equal(a) for b, a in zip(before, _random_states(zero), strict=True))
    if drew:
        raise ValueError(
            "the model draws random numbers in its forward pass, so no attacker could repeat it; "
            "make it an nn.Dropout layer for models.expose_dropout, or use model.eval()"
        )
    return outputs


def _check_logits(outputs: Tensor) -> None:
    if outputs.ndim != 2:
        raise ValueError(
            f"a classifier returns (batch, classes), this model returned {tuple(outputs.shape)}; "
            "flatten before it"
        )


def _check_names_and_shapes(model: nn.Module, what: str, tensors: Tensors) -> None:
    expected = {name: tuple(p.shape) for name, p in model.named_parameters()}
    got = {name: tuple(t.shape) for name, t in tensors.items()}
    names = expected.keys() | got.keys()
    wrong = [name for name in names if expected.get(name) != got.get(name)]
    if wrong:
        name = min(wrong)
        raise ValueError(
            f"the {what} of another model: {name} is {got.get(name, 'missing')} there and "
            f"{expected.get(name, 'missing')} in this model "
            f"({len(wrong)} of {len(expected)} tensors differ); "
            "attack with the model that the client trained"
        )


def _check_part(model: nn.Module, gradient: Tensors) -> None:
    """Raises ValueError unless the gradient is one of the model, or a part of it."""
    if not gradient:
        raise ValueError(
            "the gradient is empty; a partial update has at least one of the model's tensors, such "
            "as the classifier's weight and bias"
        )
    own = {name: p for name, p in model.named_parameters() if name not in gradient}
    _check_names_and_shapes(model, "gradient", {**own, **gradient})


def _check_protocol(model: nn.Module, shared: Shared) -> None:
    """Raises ValueError if tensors were shared that this model does not train."""
    frozen = [name for name in shared.gradient if name not in trained_names(model)]
    if frozen:
        raise ValueError(
            f"the gradient of {', '.join(frozen)} was shared, but this model does not train it; "
            "attack with the model that the client trained, or call requires_grad_(True) on it"
        )


def _check_one_kind(shared: Shared) -> None:
    tensors = (*shared.weights.values(), *shared.gradient.values())
    kinds = sorted({f"{t.dtype} on {t.device}" for t in tensors})
    if len(kinds) > 1:
        raise ValueError(
            "weights and gradient are of one dtype and on one device, "
            f"got {' and '.join(kinds)}; move one to the other"
        )


def _check_layer(name: str, layer: nn.Module) -> None:
    kind = type(layer).__name__
    if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is None:
        raise ValueError(
            f"{name} is a {kind} without running statistics: it mixes the images of a batch even "
            "in eval mode; build it with track_running_stats=True and use model.eval(), or use "
            "GroupNorm"
        )
    if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training:
        raise ValueError(
            f"{name} is a {kind} in train mode: it mixes the images of a batch and changes itself "
            "at each call; put the model in eval mode (model.eval()) to share a gradient of fixed "
            "statistics"
        )
    if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.training and layer.p > 0:
        raise ValueError(
            f"{name} is an active {kind}, which redraws its mask in secret at each call; "
            "use models.expose_dropout(model, x_shape), or model.eval() to switch it off"
        )


def _random_states(like: Tensor) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if like.is_cuda:
        states.append(torch.cuda.get_rng_state(like.device))
    return states
