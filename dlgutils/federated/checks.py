"""What a round must be before anyone computes with it: errors name the value and the way out."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dlgutils.federated.batch_checks import check_images, check_targets
from dlgutils.federated.local_training import trained_names
from dlgutils.federated.model_checks import check_logits, check_model, outputs_of_zeros
from dlgutils.protocol import Loss, Protocol, takes_class_ids
from dlgutils.types import Batch, Shared, Tensors


def check_kinds(*rounds: Shared) -> None:
    """Raises ValueError unless each round is a `Shared` of tensors, with a `Protocol`."""
    for shared in rounds:
        if not isinstance(shared, Shared):
            raise ValueError(
                f"a round is a Shared, as share(model, batch) returns it, got {_kind(shared)}; of "
                "numbers that came otherwise, make Shared(weights, gradient, x_shape)"
            )
        for what, tensors in (("weights", shared.weights), ("gradients", shared.gradient)):
            _check_tensors(what, tensors)
        check_protocol_kind(shared.protocol)


def check_protocol_kind(protocol: object) -> None:
    """Raises ValueError unless this is a `Protocol`."""
    if not isinstance(protocol, Protocol):
        raise ValueError(
            f"a protocol is a Protocol, got {_kind(protocol)}; Protocol() is one plain gradient"
        )


def check(model: nn.Module, *rounds: Shared) -> None:
    """Raises ValueError unless all `rounds` are usable gradients of this model.

    Names and shapes are those of the model, all numbers are finite, and not all are zero. Of a
    partial update, the gradient has only some of the names, and at least one. The model must be one
    that `share` takes, for images of their `x_shape`.
    """
    check_model(model)
    for shared in rounds:
        _check_names_and_shapes(model, "weights", shared.weights)
        _check_finite("weight", shared.weights)
        _check_part(model, shared.gradient)
        _check_one_kind(shared)
        check_gradient(shared)
    for shared in rounds:
        _check_protocol(model, shared)
    for x_shape, loss in {(tuple(shared.x_shape), shared.protocol.loss) for shared in rounds}:
        outputs = outputs_of_zeros(model, x_shape)
        if takes_class_ids(loss):
            check_logits(outputs)


def _check_tensors(what: str, tensors: object) -> None:
    if not isinstance(tensors, Mapping):
        raise ValueError(f"the {what} of a round are tensors by their names, got {_kind(tensors)}")
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(
                f"the {what} of a round are tensors, but {name} is {_kind(tensor)}; "
                "torch.as_tensor makes a tensor of it"
            )


def _kind(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"


def check_gradient(shared: Shared) -> None:
    """Raises ValueError for a gradient with NaN or inf in it, or one that is zero everywhere."""
    _check_finite("gradient", shared.gradient)
    if not any(g.any() for g in shared.gradient.values()):
        raise ValueError(
            "the gradient is zero everywhere, so it says nothing of the images: either the network "
            "is so sure of them that δ is rounded to zero, or the gradient was reset or the loss "
            "multiplied by zero before it was sent"
        )


def check_batch(model: nn.Module, batch: Batch, loss: Loss = cross_entropy) -> None:
    """Raises ValueError for images that the model does not take, or targets that `loss` does not.

    Cross-entropy is for classifiers.
    """
    x, y = batch
    check_images(next(model.parameters()), x)
    outputs = outputs_of_zeros(model, x.shape)
    if takes_class_ids(loss):
        check_logits(outputs)
    check_targets(loss, outputs.expand(len(x), *outputs.shape[1:]), y)


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


def _check_finite(what: str, tensors: Tensors) -> None:
    for name, tensor in tensors.items():
        wrong = int((~tensor.isfinite()).sum())
        if wrong:
            raise ValueError(
                f"the {what} of {name} has {wrong} NaN or inf among its {tensor.numel()} numbers; "
                "an attack can only match finite numbers: look at the client's weights and images"
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
