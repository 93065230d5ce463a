"""The masks of dropout, which a linear layer's gradient shows."""

from dlgutils import models
from dlgutils.analytic import masks as mask_reading
from dlgutils.auditing.records import Finding
from dlgutils.auditing.situation import Situation
from dlgutils.auditing.words import listed
from dlgutils.types import Tensors


def masks(situation: Situation) -> Finding:
    """Which units dropout switched off.

    Raises ValueError for a network without dropout, and where `masks.read` does.
    """
    model, shared = situation.model, situation.shared
    if not models.active_dropouts(model):
        raise ValueError("the network has no dropout that a client draws masks for")
    read_from = tuple(mask_reading.linear_after(model, shared.x_shape).values())
    if situation.images > 1:
        reading = situation.separation.reading
        if reading is None:
            raise ValueError(situation.separation.reason)
        drawn = dict(reading.masks)
        certificate = "in the features of each image, units that were dropped are zero"
        read_from = shared.classifier[:1]
    else:
        drawn = dict(mask_reading.read(model, shared).masks)
        certificate = "the columns of dropped units are zero in the gradient"
    if not drawn:
        return Finding("masks", "quiet", "No mask was read.")
    told = f"The mask of {listed(_layers(drawn))} is visible in {listed(read_from)}: {_off(drawn)}."
    return Finding("masks", "leak", told, certificate, read_from, masks=drawn)


def _layers(drawn: Tensors) -> list[str]:
    return [name.removesuffix(".mask") for name in drawn]


def _off(drawn: Tensors) -> str:
    off = sum(int((mask == 0).sum()) for mask in drawn.values())
    units = sum(mask.numel() for mask in drawn.values())
    return f"{off} of {units} units are off"
