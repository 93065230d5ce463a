"""Which images a model takes, and which targets a loss."""

import torch
from torch import Tensor

from dlgutils.protocol import Loss, takes_class_ids


def check_images(like: Tensor, x: Tensor) -> None:
    """Raises ValueError unless x are images in [0, 1], of the dtype and on the device of `like`."""
    if not isinstance(x, Tensor):
        raise ValueError(
            f"images are a tensor (batch, channels, height, width), got a {type(x).__name__}; "
            "of a Batch, take its x"
        )
    if x.ndim != 4:
        axes = {2: "of one grey image, try x[None, None]", 3: "of one image, try x[None]"}
        hint = axes.get(x.ndim, "try x.view(-1, channels, height, width)")
        raise ValueError(
            f"images have the shape (batch, channels, height, width), got {tuple(x.shape)}; {hint}"
        )
    if x.numel() == 0:
        raise ValueError(f"a batch has at least one image, got the shape {tuple(x.shape)}")
    if (x.dtype, x.device) != (like.dtype, like.device):
        raise ValueError(
            f"images are {x.dtype} on {x.device}, the model is {like.dtype} on {like.device}; "
            f"move one to the other: Batch(x.to({like.dtype}), y) or model.to(x)"
        )
    if not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(
            f"images have values in [0, 1], got {bounds_in_words(x)}; divide bytes by 255, and "
            "where images were normalised, leave them as they were before and let the model do it: "
            "models.normalised(model, mean, std)"
        )


def check_targets(loss: Loss, outputs: Tensor, y: Tensor) -> None:
    """Raises ValueError for targets that the loss does not take, or of images of another number.

    Args:
        loss: of outputs and targets.
        outputs: of the model for these images, (batch, ...).
        y: the targets: (batch,) class ids, int64, or (batch, ...) numbers of the outputs' dtype.
    """
    if isinstance(loss, type):
        raise ValueError(
            f"a loss is a function of outputs and targets, got the class {loss.__name__}; pass an "
            f"instance, {loss.__name__}()"
        )
    dtypes = (torch.int64, outputs.dtype)
    if y.ndim == 0 or len(y) != len(outputs) or y.device != outputs.device or y.dtype not in dtypes:
        raise ValueError(
            f"labels are int64 class ids of shape ({len(outputs)},) on {outputs.device}, got "
            f"{y.dtype} of shape {tuple(y.shape)} on {y.device}; other targets of the loss have "
            f"the outputs' dtype, {outputs.dtype}"
        )
    if takes_class_ids(loss) and y.dtype == torch.int64:
        _check_classes(outputs, y)
    elif takes_class_ids(loss):
        _check_probabilities(outputs, y)
    try:
        value = loss(outputs, y)
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(
            f"the loss does not take targets of shape {tuple(y.shape)} and {y.dtype} for outputs "
            f"of shape {tuple(outputs.shape)}: {error}"
        ) from error
    if value.ndim or not value.is_floating_point():
        raise ValueError(
            f"a loss is one number, got {value.dtype} of shape {tuple(value.shape)}; "
            "use reduction='mean' or 'sum'"
        )


def bounds_in_words(numbers: Tensor) -> str:
    """The least and the greatest of some numbers, such as "3 to 9", or what all of them are."""
    bounds = [number.item() for number in (numbers.min(), numbers.max())]
    low, high = [str(one) if isinstance(one, int) else f"{one:.3g}" for one in bounds]
    return low if low == high else f"{low} to {high}"


def _check_classes(outputs: Tensor, y: Tensor) -> None:
    images, classes = outputs.shape
    if y.shape != (images,):
        raise ValueError(
            f"labels are int64 class ids of shape ({images},), got {y.dtype} of shape "
            f"{tuple(y.shape)}; probabilities are floating point"
        )
    if not ((y >= 0) & (y < classes)).all():
        raise ValueError(
            f"labels lie in 0 … {classes - 1} for this model, got {bounds_in_words(y)}"
        )


def _check_probabilities(outputs: Tensor, y: Tensor) -> None:
    if y.shape != outputs.shape:
        raise ValueError(
            f"labels are int64 class ids of shape ({len(outputs)},), or probabilities of shape "
            f"{tuple(outputs.shape)}, got {y.dtype} of shape {tuple(y.shape)}"
        )
    off = float((y.sum(1) - 1).abs().max())
    if y.min() < 0 or off > 1e-3:
        raise ValueError(
            "probabilities are not negative and sum to one for each image, got "
            f"{float(y.min()):.3g} as the smallest, and sums {off:.3g} away from one"
        )
