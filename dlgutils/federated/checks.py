"""What a round must be before anyone computes with it: errors name the value and the way out."""

import torch
from torch import nn

from dlgutils.federated.inputs import check_arrays, check_images
from dlgutils.federated.model_checks import check_model, count_classes
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
    for x_shape in {tuple(shared.x_shape) for shared in rounds}:
        count_classes(model, x_shape)


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


def check_batch(model: nn.Module, batch: Batch) -> None:
    """Raises ValueError for images or labels that the model does not take."""
    check_arrays(batch)
    x, y = batch
    check_images(next(model.parameters()), x)
    if (y.shape, y.dtype, y.device) != ((len(x),), torch.int64, x.device):
        raise ValueError(
            f"labels are int64 class ids of shape ({len(x)},) on {x.device}, "
            f"got {y.dtype} of shape {tuple(y.shape)} on {y.device}"
        )
    classes = count_classes(model, x.shape)
    if not ((y >= 0) & (y < classes)).all():
        raise ValueError(
            f"labels lie in 0 … {classes - 1} for this model, got {int(y.min())} to {int(y.max())}"
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


def _check_one_kind(shared: Shared) -> None:
    tensors = (*shared.weights.values(), *shared.gradient.values())
    kinds = sorted({f"{t.dtype} on {t.device}" for t in tensors})
    if len(kinds) > 1:
        raise ValueError(
            "weights and gradient are of one dtype and on one device, "
            f"got {' and '.join(kinds)}; move one to the other"
        )
