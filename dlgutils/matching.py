"""How far is one gradient from another? Scalars, differentiable in their first argument."""

from torch import Tensor

from dlgutils.types import Tensors


def squared_norm(gradient: Tensors) -> Tensor:
    """‖g‖² over all tensors of a gradient: a scalar."""
    return sum((g**2).sum() for g in gradient.values())


def squared_error(guess: Tensors, target: Tensors) -> Tensor:
    """‖g′ − g‖², the matching loss of DLG: a scalar ≥ 0 (Zhu, Liu & Han 2019, arXiv:1906.08935)."""
    return squared_norm({name: guess[name] - target[name] for name in target})


def relative_squared_error(guess: Tensors, target: Tensors) -> Tensor:
    """‖g′ − g‖² / ‖g‖²: the same in units of the target, so 1 is the distance of an all-zero gradient.

    The scale makes the losses of different networks and images comparable. What the image contributes is about 1e-6 of
    it, so an optimiser with fixed tolerances stops too early.
    """
    return squared_error(guess, target) / squared_norm(target)
