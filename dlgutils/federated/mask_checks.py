"""Which dropout masks a model takes."""

from torch import Tensor, nn

from dlgutils import models
from dlgutils.types import Tensors


def check_masks(model: nn.Module, masks: Tensors, batch: int | None = None) -> None:
    """Raises ValueError for masks that the model does not have, or not of this shape and kind.

    batch: how many images have a mask like the layer's own; None: only names are checked.
    """
    layers = models.dropouts(model)
    unknown = sorted(masks.keys() - layers.keys())
    if unknown:
        raise ValueError(
            f"no mask is called {', '.join(unknown)}; this model has {list(layers) or 'none'} "
            "(models.expose_dropout names the masks of nn.Dropout layers)"
        )
    if batch is None:
        return
    for name, mask in masks.items():
        own = layers[name].mask
        wanted, got = _kind(own.expand(batch, *own.shape)), _kind(mask)
        if got != wanted:
            raise ValueError(
                f"{name} has one mask per image, {wanted}, got {got}; "
                "draw them with models.draw_masks(model, batch, generator)"
            )


def _kind(mask: Tensor) -> str:
    return f"{tuple(mask.shape)} of {mask.dtype} on {mask.device}"
