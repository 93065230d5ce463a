"""A bound on the length of an update."""

import math

import torch
from torch import Generator, Tensor

from dlgutils.federated.defenses.checks import is_real
from dlgutils.federated.defenses.remembered import remembered
from dlgutils.protocol import Defense, Effect
from dlgutils.types import Tensors


# The square root has no derivative at zero, so the length is bounded from below first. Squares of
# float16 leave its range, and are taken in float32.
@remembered
def clip(max_norm: float) -> Defense:
    """The defence that makes an update shorter if it is longer than `max_norm`: g · min(1, C/‖g‖).

    The length is that of all tensors together, √Σg². That is the clipping of a client's whole
    update (McMahan et al. 2018, arXiv:1710.06963); DP-SGD clips each example's gradient
    (`federated.dp_sgd`). By itself it hides nothing: the direction is as it was, and one image's
    features and δ say how long the gradient had been. An attacker clips what they make, too.

    Raises ValueError unless max_norm is a positive number.
    """
    if not (is_real(max_norm) and 0 < max_norm < math.inf):
        raise ValueError(
            f"an update is clipped to a length above zero, got {max_norm!r}; pass such as clip(1.0)"
        )

    def shorten(gradient: Tensors, _: object = None) -> Tensors:
        wide = {name: g.to(_at_least_single(g)) for name, g in gradient.items()}
        squared = sum(g.square().sum() for g in wide.values())
        factor = max_norm / squared.clamp(min=max_norm**2).sqrt()
        return {name: (factor * wide[name]).to(g.dtype) for name, g in gradient.items()}

    def apply(gradient: Tensors, _: Generator | None) -> Tensors:
        return shorten(gradient)

    return Defense(f"clipped to {max_norm:g}", apply, shorten, Effect.SCALES, bound=max_norm)


def _at_least_single(g: Tensor) -> torch.dtype:
    return torch.promote_types(g.dtype, torch.float32)
