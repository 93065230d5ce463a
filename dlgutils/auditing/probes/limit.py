"""What no attacker can do better: how much of the images the update contains at all."""

import math
from collections.abc import Callable
from functools import partial

import torch

from dlgutils.analytic import limits
from dlgutils.analytic.spectrum import Spectrum, spectrum
from dlgutils.auditing.looking import in_time
from dlgutils.auditing.records import Finding
from dlgutils.auditing.situation import Situation
from dlgutils.federated import Round

_LARGEST = 3e7  # numbers of a Jacobian: 240 MB
_PER_SECOND = 8e9  # multiplications, of one core
_ENOUGH = 0.5  # of all patterns, or of the error without the update


def limit_at(secret: Round) -> Callable[[Situation], Finding]:
    """The probe of the information limit at these images: the only one that sees the truth."""
    return in_time(partial(limit, secret), 1.0)


def limit(secret: Round, situation: Situation) -> Finding:
    """How well the best of all attackers could do, to first order.

    Raises ValueError for a network that is too large for its Jacobian, and as `spectrum` does.
    """
    numbers = sum(g.numel() for g in situation.shared.gradient.values())
    pixels = secret.secret.x.numel()
    if numbers * pixels > _LARGEST:
        raise ValueError(
            f"the Jacobian has {numbers} rows and {pixels} columns, too many to be computed here"
        )
    seconds = 6 * numbers * pixels**2 / _PER_SECOND
    left = situation.clock.left
    if seconds > left:
        told = (
            f"The Jacobian, {numbers} × {pixels}, would take about {seconds:.0f} s, and {left:.1f} "
            "s are left."
        )
        return Finding("limit", "not reached", told)
    protocol = situation.shared.protocol
    generator = torch.Generator().manual_seed(situation.seed)
    found = spectrum(
        situation.model,
        secret.secret,
        masks=secret.masks,
        protocol=protocol,
        generator=generator,
    )
    told, enough = _judged(found, protocol.sigma, tuple(secret.secret.x.shape))
    return Finding("limit", "leak" if enough else "quiet", told, read_from=())


def _judged(found: Spectrum, sigma: float, x_shape: tuple[int, ...]) -> tuple[str, bool]:
    """A spectrum in words, and whether the update has enough of the images to call it a leak."""
    pixels = math.prod(x_shape)
    if not sigma:
        told = (
            f"To first order the update changes with {found.rank} of the {pixels} independent "
            f"patterns of the pixels; {found.nullity} leave no trace, whoever searches."
        )
        return told, found.rank >= _ENOUGH * pixels
    prior = limits.photographs(x_shape)
    best, none = (math.sqrt(found.limit(s, prior)) for s in (sigma, 1e12))
    told = (
        f"Behind this noise no attacker who knows no more than that images look like photographs "
        f"comes below an RMSE of {best:.3f} on average; without the update it is {none:.3f}."
    )
    return told, best < _ENOUGH * none
