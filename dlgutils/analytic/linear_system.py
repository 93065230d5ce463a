"""What entered a linear layer for all images of a batch, by least squares, with error bars.

The layer is z = W u + b, H has the inputs of the images as rows, and Δ the rows ∂loss/∂z. Then

    Δᵀ [H, 1] = [∂loss/∂W, ∂loss/∂b] = G,

and if Δ is known and its rows are independent, H = (Δᵀ)⁺ G. The numbers of G are rounded, those of
Δ known to an error of their own; both variances are carried along, as if errors were independent.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dlgutils.analytic.rank_one import SIGNIFICANT

_OPERATIONS = 4  # each number of a gradient comes from some roundings, not one


def rounding(dtype: torch.dtype) -> float:
    """The standard error, relative to its terms, of a number that was computed in this dtype.

    What is computed from it here, in double precision, is rounded as well.
    """
    return _OPERATIONS * (torch.finfo(dtype).eps + torch.finfo(torch.float64).eps)


class Estimate(NamedTuple):
    """Numbers with their standard errors, of the same shape."""

    value: Tensor
    error: Tensor


class Solved(NamedTuple):
    """The inputs of a layer, and how well its gradient fits them."""

    inputs: Estimate  # (batch, n_in)
    residual: float  # ‖G − Δᵀ [H, 1]‖ / ‖G‖
    explained: float  # the residual that the errors explain
    rank: int  # independent rows of Δ

    @property
    def fits(self) -> bool:
        """Whether the residual is no larger than errors make it."""
        return self.residual <= SIGNIFICANT * self.explained

    @property
    def relative_error(self) -> Tensor:
        """Six standard errors of each image's inputs, in units of their length: (batch,)."""
        length = self.inputs.value.norm(dim=1)
        error = SIGNIFICANT * self.inputs.error.norm(dim=1)
        return torch.where(length > 0, error / length, 0)


def solve(gradient: Tensor, delta: Estimate, eps: float, *, has_bias: bool) -> Solved:
    """The inputs H of a layer from Δ and G.

    Args:
        gradient: (n_out, n_in), or (n_out, n_in + 1) with ∂loss/∂b as the last column.
        delta: (batch, n_out).
        eps: the relative error of the numbers of the gradient.
        has_bias: whether that column is there.
    """
    rank = _rank(delta, eps)
    inverse = torch.linalg.pinv(delta.value.T)
    found = inverse @ gradient
    inputs = found[:, :-1] if has_bias else found
    return check(gradient, delta, Estimate(inputs, inputs), eps, has_bias=has_bias, rank=rank)


def check(
    gradient: Tensor, delta: Estimate, inputs: Estimate, eps: float, *, has_bias: bool, rank: int
) -> Solved:
    """How well given inputs fit, with the errors that a least-squares solution has.

    Args:
        gradient: as in `solve`.
        delta: (batch, n_out).
        inputs: (batch, n_in); their errors do not matter.
        eps: the relative error of the numbers of the gradient.
        has_bias: whether the gradient of the bias is its last column.
        rank: independent rows of Δ.
    """
    h = inputs.value
    whole = torch.cat([h, torch.ones_like(h[:, :1])], 1) if has_bias else h
    inverse = torch.linalg.pinv(delta.value.T)
    rounding = eps * (delta.value.abs().T @ whole.abs())
    crossed = inverse**2 @ (delta.error**2).T  # (batch, batch)
    variance = inverse**2 @ rounding**2 + crossed @ whole**2
    error = variance.sqrt()[:, : h.shape[1]] + eps * h.abs()
    missing = gradient - delta.value.T @ whole
    of_delta = (delta.error**2).T @ whole**2
    of_inputs = (delta.value**2).T @ (eps * whole) ** 2
    explained = (rounding**2 + of_delta + of_inputs).sum().sqrt()
    length = float(gradient.norm())
    if not length:
        return Solved(Estimate(h, error), math.nan, math.nan, rank)
    residual = float(missing.norm()) / length
    return Solved(Estimate(h, error), residual, float(explained) / length, rank)


def _rank(delta: Estimate, eps: float) -> int:
    """The independent rows of Δ: those that errors of their size could not have made dependent.

    Each row is divided by the length of its error, since the δ of an image that the network is sure
    of is small, and so is its error.
    """
    error = delta.error.norm(dim=1, keepdim=True) + eps * delta.value.norm(dim=1, keepdim=True)
    known = error[:, 0] > 0
    size = torch.linalg.svdvals(delta.value[known] / error[known])
    return int((size > SIGNIFICANT).sum())
