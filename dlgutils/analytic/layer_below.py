"""From one linear layer to the δ of the next one below: through dropout and an activation."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlgutils.analytic.linear_system import Estimate
from dlgutils.analytic.masks import units_kept
from dlgutils.analytic.rank_one import SIGNIFICANT
from dlgutils.analytic.slopes import Slope, slope_of_output
from dlgutils.models.dropout import Dropout

_MOST_UNSURE = 12  # images whose slope of one unit is not sure: 2¹² combinations are tried


class Below(NamedTuple):
    """δ of a linear layer, and which of its units may be counted upon."""

    delta: Estimate  # (batch, n_out)
    units: Tensor  # (n_out,) bool


def read_mask(dropout: Dropout, inputs: Estimate) -> Tensor:
    """The mask of dropout before a linear layer, `(batch, *mask)`, from the layer's inputs.

    Units that are zero to within their errors count as dropped, which makes no difference.
    """
    kept = inputs.value.abs() > SIGNIFICANT * inputs.error
    return units_kept(kept, dropout).to(inputs.value) / (1 - dropout.p)


def from_bias(bias: Tensor, eps: float) -> Below:
    """δ of the layer of one image: ∂loss/∂b itself, (n_out,)."""
    delta = bias[None]
    return Below(Estimate(delta, eps * delta.abs()), torch.ones_like(bias, dtype=torch.bool))


def through_activation(
    activation: nn.Module,
    sent: Estimate,
    inputs: Estimate,
    mask: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Below:
    """δ of the layer below an activation and dropout.

    Args:
        activation: between the two layers; one of `slopes.MONOTONE` or `slopes.BENT`.
        sent: ∂loss/∂input of the upper layer, (batch, n).
        inputs: of the upper layer, (batch, n).
        mask: of the dropout above the activation, (batch, n), or None.
        bias: ∂loss/∂b of the layer below, (n,), the sum of δ over the images, or None. Where the
            slope of a unit is not sure, it says which slopes they were; and a unit whose δ has
            another sum is not counted upon.
        eps: the relative error of the client's numbers.
    """
    value, error = sent
    v, v_error = inputs
    if mask is not None:
        value, error = mask * value, mask * error
        v, v_error = v / mask.max(), v_error / mask.max()
    slope = slope_of_output(activation, v, v_error)
    sure = slope.sure if mask is None else slope.sure | (mask == 0)
    spread = (slope.value**2 * error**2 + slope.error**2 * value**2).sqrt()
    delta = Estimate(slope.value * value, spread)
    if bias is None:
        return Below(delta, sure.all(0))
    slope = slope._replace(sure=sure)
    tolerance = SIGNIFICANT * (spread.norm(dim=0) + eps * delta.value.abs().sum(0))
    return _agree(delta, slope, value, bias, tolerance)


def _agree(delta: Estimate, slope: Slope, sent: Tensor, bias: Tensor, tolerance: Tensor) -> Below:
    """δ with the slopes that its sum over the images, `bias`, admits; and where there is one."""
    unsure = (~slope.sure).sum(0)
    difference = delta.value.sum(0) - bias
    units = (difference.abs() <= tolerance) & (unsure == 0)
    value = delta.value.clone()
    for unit in ((unsure > 0) & (unsure <= _MOST_UNSURE)).nonzero()[:, 0].tolist():
        images = ~slope.sure[:, unit]
        change = ((slope.other - slope.value) * sent)[images, unit]
        chosen = _choose(change, float(difference[unit]), float(tolerance[unit]))
        if chosen is not None:
            value[images, unit] += chosen * change
            units[unit] = True
    return Below(delta._replace(value=value), units)


def _choose(change: Tensor, difference: float, tolerance: float) -> Tensor | None:
    """Which changes, (n,) of zeros and ones, undo a difference; None if not exactly one choice."""
    n = len(change)
    numbers = torch.arange(2**n, device=change.device)
    choices = (numbers[:, None] >> torch.arange(n, device=change.device) & 1).to(change)
    left = (choices @ change + difference).abs()
    fits = left <= tolerance
    return choices[fits][0] if int(fits.sum()) == 1 else None
