"""The slope of an activation, from what left it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlgutils.analytic.rank_one import SIGNIFICANT

MONOTONE = (nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.ELU, nn.Softplus, nn.Identity)
"""Activations whose output says what their slope was; no subclasses, which may differ."""

BENT = (nn.GELU, nn.SiLU)
"""Activations that fall before they rise: a negative output has two inputs, and two slopes."""

_KINK = 20  # standard errors: nearer to it, the side is not certain
_TURNS = 200  # of a bisection: it ends where the numbers do
_LEFT = -40.0  # to the left of it, GELU and SiLU are zero to rounding


class Slope(NamedTuple):
    """Slopes of n units for each image, (batch, n) all."""

    value: Tensor
    error: Tensor  # standard error of each
    sure: Tensor  # bool: the value may be counted upon
    other: Tensor  # a second slope that is as likely where it differs from the value


def slope_of_output(module: nn.Module, v: Tensor, error: Tensor) -> Slope:
    """The slope of an activation where it returned v.

    module: one of `MONOTONE` or `BENT`. v: (batch, n), in double precision. error: the same shape,
    the standard error of each. Unsure are units that are at a kink to within their errors, and
    those with a second slope.
    """
    if type(module) in BENT:
        return _bent(module, v, error)
    value = _monotone(module, v, error)
    distance = v.abs()
    sure = torch.ones_like(v, dtype=torch.bool)
    change = torch.zeros_like(v)
    if isinstance(module, nn.ReLU):  # a zero has errors, too
        sure = (distance < SIGNIFICANT / 2 * error) | (distance > _KINK * error) | (v == 0)
    elif isinstance(module, nn.LeakyReLU):
        sure = distance > _KINK * error
    else:
        change = (_monotone(module, v + error, error) - value).abs()
    return Slope(value, change, sure, value)


def _bent(module: nn.Module, v: Tensor, error: Tensor) -> Slope:
    value = _derivative(module, _inverse(module, v, right=True))
    moved = _derivative(module, _inverse(module, v + error, right=True))
    other = _derivative(module, _inverse(module, v, right=False))
    positive = v > SIGNIFICANT * error
    return Slope(value, (moved - value).abs(), positive, torch.where(positive, value, other))


def _monotone(module: nn.Module, v: Tensor, error: Tensor) -> Tensor:
    """The slope as a function of the output v; a ReLU is on above six standard errors."""
    match module:
        case nn.ReLU():
            return (v > SIGNIFICANT * error).to(v)
        case nn.LeakyReLU():
            return torch.where(v > 0, torch.ones_like(v), module.negative_slope)
        case nn.Sigmoid():
            return v * (1 - v)
        case nn.Tanh():
            return 1 - v**2
        case nn.ELU():
            return torch.where(v > 0, 1, v + module.alpha)
        case nn.Softplus():
            # v = log(1 + exp(βz))/β has the slope 1 − exp(−βv)
            return -torch.expm1(-module.beta * v)
    return torch.ones_like(v)


def _derivative(module: nn.Module, z: Tensor) -> Tensor:
    _, pull_back = torch.func.vjp(module, z)
    return pull_back(torch.ones_like(z))[0]


def _inverse(module: nn.Module, v: Tensor, *, right: bool) -> Tensor:
    """Where a bent activation is v, on the branch to the right or left of its lowest point."""
    lowest = _bisect(lambda z: _derivative(module, z), v.new_full((1,), -3), v.new_zeros(1))
    bottom = torch.broadcast_to(lowest, v.shape)
    if right:
        return _bisect(lambda z: module(z) - v, bottom, v.clamp(min=0) + 1)
    return _bisect(lambda z: v - module(z), torch.full_like(v, _LEFT), bottom)


def _bisect(rising: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Where a function that rises between low and high is zero."""
    for _ in range(_TURNS):
        middle = (low + high) / 2
        above = rising(middle) > 0
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2
