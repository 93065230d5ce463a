"""The image by linear algebra, where the network is a chain of layers that can be inverted."""

import math

from torch import nn

from dlgutils.analytic.closed_form import recover
from dlgutils.analytic.closed_form.chain import chain, in_float64
from dlgutils.auditing.probes.images import with_images
from dlgutils.auditing.records import Finding
from dlgutils.auditing.situation import Situation

_BYTES = 1e9  # what one system of equations may take
_PER_SECOND = 1e10  # multiplications, of one core
_WORK = 1  # systems of the largest size, a few factorisations each


def closed_form(situation: Situation) -> Finding:
    """The image layer by layer, as `closed_form.recover` finds it.

    Raises ValueError where it does, and where its systems are too large for memory or time.
    """
    model, shared = situation.model, situation.shared
    if situation.images > 1:
        raise ValueError("the closed form is for one image; the gradients of a batch are added up")
    if shared.protocol.steps > 1:
        raise ValueError("the closed form is for one step; the gradients of several are added up")
    unknowns = _largest(situation)
    size = 50 * unknowns**2
    if size > _BYTES:
        raise ValueError(
            f"its equations, of {unknowns} unknowns, would take {size / 1e9:.0f} GB of memory"
        )
    seconds = _WORK * unknowns**3 / _PER_SECOND
    left = situation.clock.left
    if seconds > left:
        told = (
            f"Its equations, of {unknowns} unknowns, would take about {seconds:.0f} s, and "
            f"{left:.1f} s are left."
        )
        return Finding("closed form", "not reached", told)
    found = recover(model, shared)
    told = "Solved layer by layer, without a search."
    if not found.determined:
        told += " Part of the image is not determined, and filled in from what photographs are."
    certificate = f"recomputed, each tensor of the gradient is right to {found.residual:.0e}"
    if found.residual > 0.05 and not shared.protocol.sigma:
        certificate = ""
        told += f" But a tensor of the gradient is off by {found.residual:.0e}, so it is wrong."
    read_from = tuple(f"{layer.name}.weight" for layer in found.layers)
    finding = Finding("closed form", "leak", told, certificate, read_from)
    return with_images(situation, finding, told, found.x, found.y, found.masks)


def _largest(situation: Situation) -> int:
    """The unknowns of the largest convolution's equations."""
    model = in_float64(situation.model, situation.shared)
    steps = chain(model, situation.shared.x_shape)
    sizes = [math.prod(step.shape) for step in steps if not isinstance(step.module, nn.Linear)]
    return max(sizes, default=1)
