"""What `features.read` finds about one image, as parts of an attack."""

from torch import nn

from dlgutils.analytic import features
from dlgutils.types import Guess, Shared, Tensors


def infer_from_features(model: nn.Module, shared: Shared) -> Guess:
    """The label of one image, and the masks before linear layers, as `features.read` finds them.

    Raises ValueError for several images, and as `features.read` does.
    """
    found = _read_one(model, shared)
    return Guess(y=found.y, masks=found.masks)


def lowest_features(model: nn.Module, shared: Shared) -> Tensors:
    """What entered the lowest linear layer that `features.read` can read, {weight: (1, n_in)}.

    Raises ValueError as `infer_from_features` does.
    """
    lowest = _read_one(model, shared).layers[-1]
    return {f"{lowest.name}.weight": lowest.inputs}


def _read_one(model: nn.Module, shared: Shared) -> features.Features:
    batch = shared.x_shape[0]
    if batch != 1:
        raise ValueError(
            f"matching features needs one image, got a batch of {batch}; take it apart: "
            "invert(model, analytic.features.split(model, shared), attacks.features)"
        )
    return features.read(model, shared)
