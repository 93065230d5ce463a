"""The equations of `mixing`, from what a classifier's gradient shows."""

import torch
from torch import Tensor

from dlgutils.analytic.classifier import Classifier
from dlgutils.analytic.mixing import System

_TRACE = 4.0  # singular values of noise, in units of the relative error, are below this


def row_scale_of(classifier: Classifier, eps: float) -> Tensor:
    """One over the lengths of the rows of the gradient, (classes,); zero for rows of rounding."""
    length = classifier.gradient.norm(dim=1)
    return torch.where(length > eps**2 * length.max(), 1 / length, 0)


def count_traces(classifier: Classifier, eps: float) -> int:
    """How many independent δ the gradient shows beyond rounding.

    Rounding is relative, so the rows are divided by their lengths: an image of which the network is
    sure has a small δ, but where that lies in rows in which those of the others are small too, it
    shows.
    """
    scaled = row_scale_of(classifier, eps)[:, None] * classifier.gradient
    return int((torch.linalg.svdvals(scaled) > _TRACE * eps).sum())


def system_of(
    classifier: Classifier, images: int, factor: float, row_scale: Tensor, *, known: bool = True
) -> System:
    """The equations of a round.

    Args:
        classifier: weights and gradient, in float64.
        images: how many there are in the gradient: its rank.
        factor: by which the loss multiplies δ: one over the batch where it is a mean.
        row_scale: what the rows of the gradient are multiplied by, (classes,).
        known: whether the factor is; otherwise it is where the search for it begins.
    """
    scaled = row_scale[:, None] * classifier.gradient
    u, s, v = torch.linalg.svd(scaled, full_matrices=False)
    basis = v[:images]
    has_bias = classifier.has_bias
    features = basis[:, :-1] if has_bias else basis
    weights = classifier.weights
    return System(
        scale=row_scale * factor,
        factor=factor,
        basis=basis,
        singular_values=s[:images],
        target=u[:, :images] * s[:images],
        logits=features @ classifier.linear.T,
        weights=classifier.linear,
        bias=weights[:, -1] if has_bias else torch.zeros_like(weights[:, -1]),
        ones=basis[:, -1] if has_bias else None,
        factor_known=known,
    )
