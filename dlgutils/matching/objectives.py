"""How far one gradient is from another, and how unlikely an image is.

All are scalars, and differentiable in their first argument.
"""

import math
from collections.abc import Callable
from numbers import Real

from torch import Tensor
from torch.nn.functional import mse_loss

from dlgutils.types import Tensors


def squared_norm(gradient: Tensors) -> Tensor:
    """‖g‖² over all tensors of a gradient: a scalar."""
    return sum((g**2).sum() for g in gradient.values())


def squared_error(guess: Tensors, target: Tensors) -> Tensor:
    """‖g′ − g‖², the matching loss of DLG: a scalar ≥ 0 (Zhu, Liu & Han 2019, arXiv:1906.08935)."""
    return sum(mse_loss(guess[name], target[name], reduction="sum") for name in target)


def gaussian(sigma: float) -> Callable[[Tensors, Tensors], Tensor]:
    """‖g′ − g‖²/(2σ²): minus the logarithm of the density of Gaussian noise, less a constant.

    sigma: the standard deviation in every number. Raises ValueError unless it is above zero and
    finite.
    """
    if not (isinstance(sigma, Real) and sigma is not True and 0 < sigma < math.inf):
        raise ValueError(
            f"sigma is above zero and finite, got {sigma!r}; without noise, use attacks.idlg"
        )

    def distance(guess: Tensors, target: Tensors) -> Tensor:
        return squared_error(guess, target) / (2 * sigma**2)

    return distance


def relative_squared_error(guess: Tensors, target: Tensors) -> Tensor:
    """‖g′ − g‖² / ‖g‖²: the same in units of the target, so a gradient of zeros has distance 1.

    The scale makes the losses of different networks and images comparable. What the image
    contributes is about 1e-6 of it, so an optimiser with fixed tolerances stops too early.
    """
    return squared_error(guess, target) / squared_norm(target)


def cosine_distance(guess: Tensors, target: Tensors) -> Tensor:
    """1 − the cosine of the angle between two gradients: in [0, 2], blind to their lengths.

    Computed as ½‖g′/‖g′‖ − g/‖g‖‖², which is the same and keeps its digits where the angle is
    small.
    Source: Geiping et al. 2020, arXiv:2003.14053.
    """
    guess_norm = squared_norm(guess).sqrt()
    target_norm = squared_norm(target).sqrt()
    difference = {name: guess[name] / guess_norm - target[name] / target_norm for name in target}
    return squared_norm(difference) / 2


def total_variation(x: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, rows plus columns: a scalar ≥ 0.

    x: (..., height, width). Small for images with flat areas and few edges (Rudin, Osher & Fatemi
    1992, doi:10.1016/0167-2789(92)90242-F), which photographs are and noise is not.
    """
    return x.diff(dim=-1).abs().mean() + x.diff(dim=-2).abs().mean()
