"""Whether noise leaves enough of a layer to read a mask off it, judged by the noise's own size.

In the best matrix δ uᵀ of a layer's gradient, every number of ‖δ‖ u has a standard error of σ
(`rank_one.project`). Units that were dropped leave N(0, σ²) there, so of those taken as dropped the
sum of squares is n σ² ± √(2n) σ². What is beyond that are kept units below the noise.
"""

import math
import warnings
from collections.abc import Iterable

import torch
from torch import Tensor

from dlgutils.analytic.rank_one import SIGNIFICANT
from dlgutils.types import Shared

_HIDDEN = 1e-2  # of the squared length of u below the noise, from which on the mask is refused
_SUSPICIOUS = 4  # standard errors of a sum of squares, and of a difference


def check_shown(shared: Shared, weights: Iterable[str], noise: float) -> None:
    """Raises ValueError where the noise covers the mask, or the label; warns if it covers a little.

    Args:
        shared: the round of one image.
        weights: the names of those of the layers that get a dropout's output.
        noise: the standard deviation in every number of the gradient, above zero.
    """
    _, bias = shared.classifier
    if bias:
        _check_label(bias, shared.gradient[bias], noise)
    for name in weights:
        _check_units(name, shared.gradient[name], noise)


def _check_label(bias: str, delta: Tensor, noise: float) -> None:
    """The label is where δ is smallest, by more than noise alone might make it."""
    smallest, second = delta.double().sort().values[:2].tolist()
    if second - smallest < _SUSPICIOUS * math.sqrt(2) * noise:
        raise ValueError(
            f"the noise, σ = {noise:g}, covers the gradient of {bias}: its smallest numbers, which "
            f"would say what the label is, are {smallest:.2g} and {second:.2g}; the likely label "
            "is labels.most_likely(shared), and the image may be matched with attacks.idlg"
        )


def _check_units(name: str, gradient: Tensor, noise: float) -> None:
    _, size, right = torch.linalg.svd(gradient.double(), full_matrices=False)
    inputs = size[0] * right[0] / noise
    taken = inputs.abs() <= SIGNIFICANT
    dropped = int(taken.sum())
    beyond = float(inputs[taken].square().sum()) - dropped
    shown = float(inputs[~taken].square().sum())
    if not shown or beyond > _HIDDEN * shown:
        share = beyond / (beyond + shown) if beyond > 0 else 1.0
        raise ValueError(
            f"the noise, σ = {noise:g}, covers the mask in {name}: {share:.0%} of what entered the "
            "layer is below it, so units that were kept look dropped; optimise the mask together "
            "with the image: attacks.dia"
        )
    if beyond > _SUSPICIOUS * math.sqrt(2 * dropped):
        warnings.warn(
            f"some units before {name} that were kept are below the noise, σ = {noise:g}, and were "
            f"taken as dropped: {beyond / (beyond + shown):.1%} of the squares of what entered it",
            stacklevel=4,  # where `masks.read` was called
        )
