"""A bowl of two unknowns, on which a full step explodes or freezes, without a kernel."""

import math

from traitlets import Float

from dlgutils.widgets.base import Widget, front_end, synced

_LIMITS = {"start": (-8, 8), "scale": (1e-8, 1e2), "condition": (1, 100)}


class Bowl(Widget):
    """A matching loss of two unknowns, and two searches from one start; make it with `bowl`."""

    _esm = front_end("bowl")
    # where both searches start; the secret is at (0, 0)
    across = synced(Float())
    up = synced(Float())
    # of the loss and of its condition number at the secret: powers of ten
    scale_power = synced(Float())
    condition_power = synced(Float())

    def __repr__(self) -> str:
        """What is printed where widgets cannot be shown."""
        return (
            f"Bowl, searched from ({self.across:g}, {self.up:g}), "
            f"scale {10**self.scale_power:.0e}, condition number {10**self.condition_power:.0f}"
        )


def bowl(
    start: tuple[float, float] = (-6.0, 2.0), *, scale: float = 1.0, condition: float = 10.0
) -> Bowl:
    """A bowl with a wall, and two searches on it: in full steps, and with a line search.

    The loss is the squared difference of two sigmoids from what they are at the secret, (0, 0), so
    it is a bowl in the middle and level far away. The page itself computes it and both searches,
    which are L-BFGS as `attacks.idlg_reference` and as `attacks.idlg` call it; the reader moves the
    start, the scale and the condition number.

    Args:
        start: of both unknowns, each in [-8, 8].
        scale: the factor of the loss, in [1e-8, 100].
        condition: the ratio of the two curvatures at the secret, in [1, 100].

    Raises ValueError for anything outside these limits.
    """
    for name, value in (("start", start[0]), ("start", start[1])):
        _check_limits(name, value)
    _check_limits("scale", scale)
    _check_limits("condition", condition)
    return Bowl(
        across=start[0],
        up=start[1],
        scale_power=math.log10(scale),
        condition_power=math.log10(condition),
    )


def _check_limits(name: str, value: float) -> None:
    low, high = _LIMITS[name]
    if not low <= value <= high:
        raise ValueError(
            f"the sliders of a bowl take a {name} from {low:g} to {high:g}, got {value:g}"
        )
