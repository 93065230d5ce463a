"""Activations backwards: the pre-activation of what left one, and the slope there."""

import torch
from torch import Tensor, nn

from dlgutils.analytic.rank_one import SIGNIFICANT

INVERTIBLE = (nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.ELU, nn.Softplus, nn.ReLU)
"""The activations that `inverse` takes; no subclasses, which may compute something else."""


def inverse(module: nn.Module, value: Tensor, error: Tensor) -> Tensor:
    """The pre-activation z of what left an activation, (n,).

    module: one of `INVERTIBLE`. value: (n,). error: (n,), the standard error of each value. At and
    beyond the ends of the range, z is infinite. Where the activation is flat, its inverse is not
    unique, and any z at which it is flat will do: a ReLU's zero gives zero.
    """
    match module:
        case nn.Sigmoid():
            return value.clamp(0, 1).logit()
        case nn.Tanh():
            return value.clamp(-1, 1).atanh()
        case nn.LeakyReLU():
            steeper = value / module.negative_slope
            return torch.where(value > 0, value, steeper)
        case nn.ELU():
            share = value / module.alpha
            below_zero = share.clamp(min=-1).log1p()
            return torch.where(value > 0, value, below_zero)
        case nn.Softplus():
            # value = log(1 + exp(βz))/β, so z = log(exp(β value) − 1)/β, without overflow
            beta = module.beta
            positive = value.clamp(min=0)
            off = -torch.expm1(-beta * positive)
            return value + off.log() / beta
    assert isinstance(module, nn.ReLU), f"{module} is not among INVERTIBLE"
    active = value > SIGNIFICANT * error
    return torch.where(active, value, 0)


def derivative(module: nn.Module, z: Tensor) -> Tensor:
    """The derivative of an activation at z, of the shape of z."""
    _, pull_back = torch.func.vjp(module, z)
    return pull_back(torch.ones_like(z))[0]


def curvature(module: nn.Module, z: Tensor) -> Tensor:
    """The second derivative of an activation at z, of the shape of z."""
    _, pull_back = torch.func.vjp(lambda z: derivative(module, z), z)
    return pull_back(torch.ones_like(z))[0]
