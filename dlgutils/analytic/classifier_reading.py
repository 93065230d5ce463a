"""The classifier as the first layer of a descent: it is read, and the reading is checked."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from dlgutils.analytic import (
    labels,
    mixing_solution,
    mixing_system,
    rank_one,
    separation,
    without_bias,
)
from dlgutils.analytic.classifier import classifier_of, join_bias
from dlgutils.analytic.fast_ica import WORK_EPS
from dlgutils.analytic.linear_chain import Link
from dlgutils.analytic.linear_system import Estimate, Solved, check, rounding
from dlgutils.analytic.masks import Reading
from dlgutils.types import Shared


class Layer(NamedTuple):
    """A linear layer on the way down: its inputs and its δ, with errors."""

    solved: Solved
    delta: Estimate
    factor: float = math.nan  # by which the loss multiplies δ, of a classifier


def read_classifier(model: nn.Module, shared: Shared) -> tuple[Reading, Tensor | None]:
    """Labels, δ and features; of one image from its gradient of rank one, or of a batch.

    Of a batch, the images that left a trace, and beside them `Separation.error`.

    Raises ValueError where they cannot be read with certainty.
    """
    if shared.x_shape[0] > 1:
        found = separation.separate(model, shared)
        if found.reading is None or _unread_traces(shared, found.reading):
            raise ValueError(
                f"the batch did not come apart: {found.reason}; ask for fewer images a round, or "
                "give a reading"
            )
        return found.reading, found.error
    weight, bias = shared.classifier
    y = labels.read_unchecked(shared)
    delta = shared.gradient[bias] if bias else without_bias.delta_without_bias(shared, y)
    rank_one.check(weight, shared)
    features = rank_one.linear_input(shared.gradient[weight], delta)
    return Reading(y, delta[None], features[None], {}), None


def layer_gradient(shared: Shared, link: Link) -> tuple[Tensor, bool]:
    """A layer's gradient in double precision, with that of the bias as the last column if any."""
    gradient = join_bias(shared.gradient, link.weight, link.bias)
    return gradient, link.bias in shared.gradient


def rounding_beside(shared: Shared, images: int) -> float:
    """The relative error of a gradient of which so many images were read.

    Those that left no trace add up to some rounding, all in one direction.
    """
    eps = rounding(shared.precision)
    return eps if images == shared.x_shape[0] else mixing_solution.MISSING * eps


def _unread_traces(shared: Shared, reading: Reading) -> int:
    """How many images of a batch left a trace in the classifier, but are not in the reading."""
    images = len(reading.y)
    if images == shared.x_shape[0]:
        return 0
    eps = torch.finfo(shared.precision).eps
    traces = mixing_system.count_traces(classifier_of(shared), max(eps, WORK_EPS))
    return max(0, traces - images)


def _require_traces(shared: Shared, reading: Reading) -> None:
    """Raises ValueError for a reading that lacks an image which left a trace in the classifier."""
    if unread := _unread_traces(shared, reading):
        raise ValueError(
            f"{len(reading.y)} of {shared.x_shape[0]} images are in this reading, and {unread} of "
            "the others are in the gradient too, so that no layer below is determined; give a "
            "reading of all of them, or ask for fewer images a round"
        )


# δ must be softmax − onehot of the features, up to a factor by which the loss may be multiplied.
# The client rounds: logits by eps of their terms, probabilities by eps, and so is the features'
# own error passed on.
def check_reading(
    shared: Shared, link: Link, reading: Reading, bars: Tensor | None = None
) -> Layer:
    """How well a reading fits the classifier, and its δ with errors.

    Args:
        shared: the round.
        link: its classifier.
        reading: what entered it.
        bars: `Separation.error` of the reading, (batch,), which count where they are tighter; None:
            it is not from a separation.

    Raises ValueError if the reading does not give the gradient back, lacks images that left a
    trace, or is of another loss.
    """
    batch, eps = len(reading.y), rounding_beside(shared, len(reading.y))
    _require_traces(shared, reading)
    weight = shared.weights[link.weight].double()
    h, delta = reading.features.double(), reading.delta.double()
    g, has_bias = layer_gradient(shared, link)
    z = h @ weight.T
    if link.has_bias:
        z = z + shared.weights[link.bias].double()
    p = z.softmax(1)
    implied = (p - one_hot(reading.y, len(weight))) / batch
    rough = Estimate(delta, eps * delta.abs())
    inputs = check(g, rough, Estimate(h, h), eps, has_bias=has_bias, rank=batch)
    error = _error_of_delta(weight, inputs.inputs, p, reading.y, eps) / batch
    scale = (delta * implied).sum() / (implied**2).sum()
    wrong = float((delta - scale * implied).norm())
    if not wrong <= rank_one.SIGNIFICANT * float((scale * error).norm()):
        raise ValueError(
            f"δ is not softmax − onehot of the features that were read ({wrong:.0e} of "
            f"{float(delta.norm()):.0e} is left over): a gradient of another loss, other weights, "
            "or noise; match the gradient instead: attacks.idlg"
        )
    known = Estimate(delta, (scale * error).abs())
    solved = check(g, known, inputs.inputs, eps, has_bias=has_bias, rank=batch)
    if not solved.fits:
        raise ValueError(
            f"the reading does not give the gradient of {link.name} back: {solved.residual:.0e} of "
            f"it is left over, where rounding explains {solved.explained:.0e}: noise, or a reading "
            "of another round"
        )
    if bars is not None:
        inputs = inputs._replace(inputs=_with_bars(inputs, bars, eps, has_bias=has_bias))
        error = _error_of_delta(weight, inputs.inputs, p, reading.y, eps) / batch
        known = Estimate(delta, (scale * error).abs())
    return Layer(inputs._replace(residual=solved.residual), known, float(scale) / batch)


# A separation is no more exact than its decompositions, however exact the gradient is.
def _with_bars(solved: Solved, bars: Tensor, eps: float, *, has_bias: bool) -> Estimate:
    """The inputs of a separation with the tighter of two errors: of least squares, and its own.

    Args:
        solved: inputs and errors by least squares.
        bars: `Separation.error`, (batch,).
        eps: the relative error of the gradient.
        has_bias: whether the classifier has one, which is a part of the length then.
    """
    value, error = solved.inputs
    length = value.norm(dim=1)
    if has_bias:
        bars = bars * torch.hypot(length, torch.ones_like(length)) / length
    coarser = max(1.0, WORK_EPS / eps)
    share = (bars / solved.relative_error).clamp(max=coarser)
    return Estimate(value, share[:, None] * error)


def _error_of_delta(weight: Tensor, inputs: Estimate, p: Tensor, y: Tensor, eps: float) -> Tensor:
    """The standard errors of softmax − onehot, (batch, classes).

    Args:
        weight: (classes, features).
        inputs: (batch, features).
        p: their softmax, (batch, classes).
        y: their labels, (batch,).
        eps: the relative error of the client's numbers.
    """
    squared = (weight**2).T
    z_error = (inputs.error**2 @ squared).sqrt() + eps * (inputs.value**2 @ squared).sqrt()
    return _error_of_softmax(p, z_error) + eps * (p + one_hot(y, len(weight)))


# dp_k = p_k (dz_k − Σ_j p_j dz_j), so an image of which the network is sure has small errors.
def _error_of_softmax(p: Tensor, z_error: Tensor) -> Tensor:
    """The standard errors of probabilities from those of the logits, (batch, classes) all."""
    shared = (p * z_error) ** 2
    others = shared.sum(1, keepdim=True) - shared
    own = ((1 - p) * z_error) ** 2
    return p * (own + others).sqrt()
