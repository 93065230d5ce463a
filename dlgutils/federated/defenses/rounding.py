"""Gradients in fewer digits: half precision, whole multiples of a step, or signs alone.

What was sent says in which interval each number lay. The attacker who knows it counts a guess whose
gradient lies in all intervals as right, and others by how far they are outside.
"""

from functools import cache

import torch
from torch import Generator, Tensor

from dlgutils.protocol import Defense, Effect
from dlgutils.types import Tensors

_SLACK = 1 + 1e-5  # of half a step
_ROUNDINGS = 4  # of a number, by client and attacker
_HALF_UNIT = 2.0**-11  # the largest rounding error of float16, relative to the number
_HALF_SUBNORMAL = 2.0**-25  # the largest of small numbers
_LARGEST_HALF = 65504


@cache
def quantized(bits: int) -> Defense:
    """The defence that rounds to whole multiples of a step, of which there are 2ᵇ − 1.

    bits: from 2 to 16, such as 8. Each tensor has its own step, its largest number being 2ᵇ⁻¹ − 1
    of them, so that the step is seen in what was sent. Rounding is to the nearest; QSGD rounds at
    random (Alistarh et al. 2017, arXiv:1610.02132), which leaves wider intervals, but is right on
    average. For one bit there is `sign`. Raises ValueError for other bits.
    """
    if not isinstance(bits, int) or isinstance(bits, bool) or not 2 <= bits <= 16:
        raise ValueError(
            f"quantized takes a whole number of bits from 2 to 16, got {bits!r}; "
            "for the signs alone use sign()"
        )
    levels = 2 ** (bits - 1) - 1

    def apply(gradient: Tensors, _: Generator | None) -> Tensors:
        rounded = {}
        for name, g in gradient.items():
            step = _step(g, levels)
            rounded[name] = torch.where(step > 0, (g / step).round() * step, 0)
        return rounded

    def imitate(made: Tensors, sent: Tensors) -> Tensors:
        reach = {name: _step(g, levels) / 2 * _SLACK for name, g in sent.items()}
        return _outside(made, sent, reach)

    return Defense(f"{bits} bits", apply, imitate, Effect.ROUNDS)


@cache
def half_precision() -> Defense:
    """The defence, or economy, that sends float16: 11 binary digits, and nothing below 6·10⁻⁸.

    Readings take the dtype for what it is; there is nothing to announce. Raises ValueError, when
    used, for numbers beyond float16.
    """

    def apply(gradient: Tensors, _: Generator | None) -> Tensors:
        largest = max(float(g.abs().max()) for g in gradient.values())
        if largest > _LARGEST_HALF:
            raise ValueError(
                f"float16 ends at {_LARGEST_HALF}, this gradient has numbers up to {largest:.3g}; "
                "clip it first, or scale it down"
            )
        return {name: g.half() for name, g in gradient.items()}

    def imitate(made: Tensors, sent: Tensors) -> Tensors:
        reach = {}
        for name, g in sent.items():
            own = g.to(made[name])
            reach[name] = (own.abs() * _HALF_UNIT).clamp(min=_HALF_SUBNORMAL) * _SLACK
        return _outside(made, sent, reach)

    return Defense("half precision", apply, imitate, Effect.SHORTENS)


# In units of its root mean square, so that a guess cannot win by having a short gradient. Of each
# tensor, since the lower layers' gradients are shorter, and signs know no length.
@cache
def sign() -> Defense:
    """The defence, or economy, that sends −1, 0 or 1 for each number: its sign.

    Source: Bernstein et al. 2018, arXiv:1802.04434 (signSGD). The attacker counts the numbers of a
    guess that have the wrong sign, each with its square, in units of the root mean square of its
    tensor. Lengths are lost: features, and with them the closed form, cannot be read.
    """

    def apply(gradient: Tensors, _: Generator | None) -> Tensors:
        return {name: g.sign() for name, g in gradient.items()}

    def imitate(made: Tensors, sent: Tensors) -> Tensors:
        moved = {}
        for name, g in sent.items():
            tiny = torch.finfo(made[name].dtype).tiny
            own = made[name] / (made[name].square().mean() + tiny).sqrt()
            wrong = torch.where(own * g > 0, 0, own)
            moved[name] = g + wrong
        return moved

    return Defense("signs", apply, imitate, Effect.SIGNS)


def _step(g: Tensor, levels: int) -> Tensor:
    return g.abs().amax() / levels


def _outside(made: Tensors, sent: Tensors, reach: Tensors) -> Tensors:
    """What was sent, plus how far what was made is out of reach of it."""
    moved = {}
    for name, g in sent.items():
        distance = made[name] - g
        rounding = _ROUNDINGS * torch.finfo(distance.dtype).eps * g.abs()
        reached = reach[name] + rounding
        inside = torch.minimum(torch.maximum(distance, -reached), reached)
        moved[name] = g + (distance - inside)
    return moved
