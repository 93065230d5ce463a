"""A factor that multiplies the update, read off the update itself."""

from dataclasses import replace

from dlgutils.auditing.records import Finding
from dlgutils.auditing.situation import Situation
from dlgutils.federated.consistency import settle
from dlgutils.types import Shared


def scale(situation: Situation) -> Finding:
    """By what the client multiplied its update, as somebody reads it who is not told.

    Raises ValueError where the update is sent as it is, and where defences changed it.
    """
    protocol = situation.shared.protocol
    if protocol.scale == 1:
        raise ValueError("the update is sent as it is, multiplied by nothing")
    if not protocol.exact:
        raise ValueError("behind defences, the factor is one more thing that they change")
    untold = replace(situation.shared, protocol=replace(protocol, scale=None))
    read_from = tuple(name for name in situation.shared.last_layer if name)
    factor, certificate = _read(situation, untold)
    if factor is None:
        told = f"The update does not say by what it was multiplied: {certificate}."
        return Finding("scale", "quiet", told)
    told = f"The update was multiplied by {factor:.4g}, which it says itself: that hides nothing."
    return Finding("scale", "leak", told, certificate, read_from)


def _read(situation: Situation, untold: Shared) -> tuple[float | None, str]:
    """The factor, and what says so; None, and why it is not known."""
    if situation.images > 1:
        found = replace(situation, shared=untold).separation
        if found.reading is None:
            return None, found.reason
        return found.scale, f"with it, images and labels leave {found.residual:.0e} of the gradient"
    known = settle(situation.model, untold)
    if known.protocol.scale is None:
        return None, known.checked.removeprefix("not checked against its protocol: ")
    name = next(iter(known.gradient))
    factor = float(untold.gradient[name].norm() / known.gradient[name].norm())
    sign = float((untold.gradient[name] * known.gradient[name]).sum())
    return factor if sign >= 0 else -factor, "with it, δ is softmax − onehot of its own features"
