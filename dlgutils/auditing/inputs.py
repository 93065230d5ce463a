"""What an auditor brings, checked before any work is done, and completed."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlgutils import models
from dlgutils.federated.batch_checks import check_images
from dlgutils.federated.inputs import check_arrays
from dlgutils.federated.model_checks import check_model, outputs_of_zeros
from dlgutils.protocol import Loss, takes_class_ids
from dlgutils.types import Batch

_SMALLEST = 6  # pixels of a side: what SSIM needs
_AT_ONCE = 32  # images of one forward pass


def own_copy(model: nn.Module) -> nn.Module:
    """A copy of the model without its wrappers, on which the whole audit is done.

    Raises ValueError for what is no module.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"an audit is of a torch.nn.Module, got {type(model).__name__}; pass the network itself"
        )
    return copy.deepcopy(models.unwrapped(model))


def complete_batch(
    model: nn.Module, batch: Batch | Tensor | tuple, loss: Loss
) -> tuple[Batch, bool]:
    """The images and labels of the client, and whether the labels are the model's own.

    Args:
        model: the network.
        batch: images and labels; or images alone, whose labels are predicted, as are those of a
            batch with None in their place.
        loss: of the protocol.

    Raises ValueError for what `share` does not take, images that are too small to be scored, a
    model that needs more than images, and labels that are missing where the loss takes others than
    class ids.
    """
    x, y = (batch, None) if isinstance(batch, Tensor) else _pair(batch)
    check_arrays(Batch(x, torch.empty(0) if y is None else y))
    check_model(model)
    check_images(next(model.parameters()), x)
    _check_forward(model, x)
    if min(x.shape[2:]) < _SMALLEST:
        raise ValueError(
            f"images of {x.shape[2]}×{x.shape[3]} pixels are too small to tell whether they are "
            f"recognised; bring at least {_SMALLEST}×{_SMALLEST}"
        )
    if y is not None:
        return Batch(x, y), False
    if not takes_class_ids(loss):
        raise ValueError(
            "labels are missing, and only for cross-entropy can the model's own be taken; "
            "pass a Batch of images and targets"
        )
    return Batch(x, predicted(model, x)), True


def check_class_names(model: nn.Module, x: Tensor, class_names: Sequence[str]) -> tuple[str, ...]:
    """The names of all classes, in the order of their ids; (): there are none.

    Raises ValueError unless there is one for each output of the model.

    x: images that the model takes.
    """
    is_list = isinstance(class_names, Sequence) and not isinstance(class_names, str)
    if not (is_list and all(isinstance(name, str) for name in class_names)):
        raise ValueError(
            "class_names is a list of words in the order of the class ids, got "
            f"{repr(class_names)[:60]}; write ['cat', 'dog'], and of a dict from id to name "
            "[names[k] for k in range(len(names))]"
        )
    names = tuple(class_names)
    classes = outputs_of_zeros(model, tuple(x.shape)).shape[-1]
    if names and len(names) != classes:
        raise ValueError(
            f"the model has {classes} classes, and {len(names)} have a name; name all of them, in "
            "the order of their ids"
        )
    return names


@torch.no_grad()
def predicted(model: nn.Module, x: Tensor) -> Tensor:
    """The classes that the model thinks most likely, (batch,), int64."""
    mixing = models.mixing_layers(model)
    parts = x.split(len(x) if mixing else _AT_ONCE)
    return torch.cat([model(part).argmax(1) for part in parts])


def class_ids(y: Tensor) -> Tensor | None:
    """The class ids of targets, (batch,), of probabilities the likeliest; None: of another loss."""
    if not y.is_floating_point():
        return y
    return y.argmax(1) if y.ndim == 2 else None


def _pair(batch: object) -> tuple[object, object]:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise ValueError(
            f"an audit takes images and labels, Batch(x, y), or images alone, got "
            f"{type(batch).__name__}"
        )
    return tuple(batch)


def _check_forward(model: nn.Module, x: Tensor) -> None:
    """Raises ValueError unless the model makes one tensor of images alone."""
    try:
        outputs_of_zeros(model, tuple(x.shape))
    except TypeError as error:
        raise ValueError(
            f"the model does not take images alone: {error}; wrap it in a module whose forward has "
            "one argument, the images"
        ) from error
    except (AssertionError, AttributeError, IndexError, KeyError, NotImplementedError) as error:
        raise ValueError(
            f"the model does not take images of shape {tuple(x.shape[1:])}: "
            f"{type(error).__name__}: {error}"
        ) from error
