"""The product δ uᵀ nearest to what defences left of one image's gradient in a linear layer.

Together with the bias, the gradient is δ [u, 1]ᵀ. Noise and rounding move every number, pruning
takes some away, clipping multiplies all: the nearest product over the numbers that are left has u
in it whatever the factor, and averages the noise over the whole layer. It is the most likely one
under Gaussian noise of one size.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dlgutils.protocol import Effect
from dlgutils.types import Shared

READABLE = frozenset({Effect.ADDS, Effect.SCALES, Effect.REMOVES, Effect.SHORTENS, Effect.ROUNDS})
"""The effects of defences through which a product can be seen; lengths are needed, signs are not
enough."""

_TURNS = 60
_SAME = 1e-6  # of the largest number: sizes that differ by less are equal
_VISIBLE = 3  # standard errors: ∂loss/∂b is longer than this, or the scale of u is lost


class Fit(NamedTuple):
    """δ and u of one image, estimated."""

    delta: Tensor  # (n_out,), in float64
    inputs: Tensor  # (n_in,): NaN where nothing of a column is left
    error: float  # the standard error of each number of u that noise and rounding leave


def fit(shared: Shared, weight: str, bias: str) -> Fit:
    """δ and u of the linear layer with these tensors, from what defences left of their gradient.

    Raises ValueError if noise or pruning leaves too little.
    """
    sigma = _spread(shared, shared.gradient[weight])
    g = _joined(shared.gradient, weight, bias)
    known = _joined(_kept(shared, weight, bias), weight, bias) != 0
    left, right = _nearest(g, known)
    strength = float(left.norm() * right.norm())
    rows, columns = g.shape
    visible = float(left.norm() * right[-1].abs()) if known[:, -1].any() else 0.0
    if strength <= sigma * (rows**0.5 + columns**0.5) or visible <= _VISIBLE * sigma:
        raise ValueError(
            f"too little of the gradient of {weight} and {bias} is left by the defences of this "
            "round to read what entered the layer; match the gradient with attacks.idlg"
        )
    inputs = (right / right[-1])[:-1]
    inputs = torch.where(known.any(0)[:-1], inputs, torch.nan)
    delta = left * right[-1]
    return Fit(delta, inputs, sigma / float(delta.norm()))


# Whole multiples of a step are off by as much as its width, spread evenly, a standard deviation of
# 1/√12 of it. The nearest two sizes are one step apart, or few.
def _spread(shared: Shared, g: Tensor) -> float:
    """The standard deviation of noise and rounding in each number of a weight's gradient."""
    sigma = shared.protocol.sigma
    if any(defense.effect is Effect.ROUNDS for defense in shared.protocol.defenses):
        apart = g.double().abs().unique().diff()
        apart = apart[apart > _SAME * g.abs().max()]
        step = float(apart.min()) if len(apart) else 0.0
        sigma = math.hypot(sigma, step / math.sqrt(12))
    return sigma


# A number of what was sent counts if no defence made it zero, as far as can be seen.
def _kept(shared: Shared, weight: str, bias: str) -> dict[str, Tensor]:
    sent = {name: shared.gradient[name] for name in (weight, bias)}
    kept = {name: torch.ones_like(g) for name, g in sent.items()}
    for defense in shared.protocol.defenses:
        if defense.effect is Effect.REMOVES:
            kept = defense.imitate(kept, sent)
    return kept


def _joined(tensors: dict[str, Tensor], weight: str, bias: str) -> Tensor:
    return torch.cat([tensors[weight], tensors[bias][:, None]], 1).double()


# With all numbers known, the singular value decomposition has the answer (Eckart & Young 1936,
# doi:10.1007/BF02288367). Otherwise left and right are solved for in turn, over what is known.
def _nearest(g: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    left, size, right = torch.linalg.svd(g, full_matrices=False)
    left, right = size[0] * left[:, 0], right[0]
    if known.all():
        return left, right
    weights, tiny = known.to(g), torch.finfo(g.dtype).tiny
    for _ in range(_TURNS):
        left = (g * weights) @ right / (weights @ right.square() + tiny)
        right = left @ (g * weights) / (left.square() @ weights + tiny)
    return left, right
