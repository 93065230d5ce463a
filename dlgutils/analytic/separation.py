"""Taking the images of a batch apart, from what entered the classifier.

**What is known.** The classifier is z = W h + b, where h are the features of one image after
dropout. Let δ_i = ∂loss/∂z_i for image i, and Δ the matrix of the rows δ_i, (batch, classes). The
gradients of W and b side by side are a sum over the images:

    G = [∂loss/∂W, ∂loss/∂b] = Σ_i δ_i [h_i, 1] = Δᵀ H,  where H has the rows [h_i, 1].

If the δ_i are linearly independent, some w has w·δ_i = 1 for one image and 0 for all others, and
wᵀ G = [h_i, 1]. So the features of every image are a combination of the rows of G. The question is
which one, since any B independent combinations span the same space. Each δ_i sums to zero, so at
most classes − 1 of them are independent: there must be fewer images than classes.

**By δ.** Each δ_i is (softmax(W h_i + b) − onehot(y_i)) / B: another function of the features. Both
together determine the combinations: `mixing` has the equations, `images_in_turn` the search.

**By zeros.** Dropout of rate p makes a share p of each h_i zero. A mixture Σ c_i h_i of k ≥ 2
images is zero where all k were dropped, a share pᵏ, and elsewhere only by chance, since features
are real numbers. Units that all B images dropped are zero in every combination and say nothing. Of
the others, one image dropped the share (p − pᴮ) / (1 − pᴮ), and a mixture at most
(p² − pᴮ) / (1 − pᴮ); `sparse_rows.find_sparse` looks for the former. Zeros of ReLUs would serve as
well (Dimitrov et al. 2024, arXiv:2403.03945), but where nothing is dropped, the δ suffice. With
zeros to start from, the labels follow: Δᵀ H = G gives the δ_i, each negative only at its label.

**The certificate.** Computed from the features and labels that were read, Δ must give G back, to
the rounding of every row of it. Mixtures M H do not pass, accidents aside: they need the mixtures
M⁻ᵀ Δ of the δ, which are not softmax − onehot of M H. That certifies the sum; how well each image
is determined is said by its error bar. Images of one class, of which the network thinks nearly the
same, have nearly the same δ, and lose digits in telling them apart.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlgutils import models
from dlgutils.analytic import images_in_turn, mixing_solution, reasons
from dlgutils.analytic.classifier import Classifier, classifier_of
from dlgutils.analytic.masks import Reading, linear_after
from dlgutils.analytic.mixing_solution import Found
from dlgutils.analytic.sparse_rows import RowSpace, find_sparse, row_space
from dlgutils.federated import checks
from dlgutils.types import Shared

_TOLD_APART = 0.01  # the largest error of features, relative to their length: bars are linear


class Separation(NamedTuple):
    """What became of a batch: a reading of what is certain, and why it is not more."""

    reading: Reading | None  # only with a certificate: n_found images, in no particular order
    n_found: int  # images whose features were told apart, of all of the batch
    residual: float  # ‖G − Δᵀ H‖ / ‖G‖ with Δ recomputed; nan if nothing was found
    reason: str  # why not all images were read; empty if they were
    error: Tensor | None = None  # (n_found,): error bars of the features, relative to their length


def separate(model: nn.Module, shared: Shared, *, y: Tensor | None = None) -> Separation:
    """Labels, features and dropout masks of every image of a batch, from the last layer's gradient.

    The reading is that of `masks.read` for several images, with the mask of the dropout layer
    before the classifier alone; the order of the images is arbitrary. It comes with a certificate:
    put through the classifier, its features and labels give the shared gradient back, each row of
    it to rounding. And it comes with error bars: the features of image i are off by at most about
    `error[i]` of their length. Without a certificate `reading` is None. Images whose δ are below
    rounding, since the network is sure of them, left no trace: then the reading has fewer rows than
    the batch, and the others add nothing to the gradient. Images whose error bar is above 0.01 are
    left out too. In all these cases `reason` says why.

    There must be fewer images than classes. Up to half as many as classes most batches come apart,
    without dropout too (`dlgutils/tables/mixing.csv`); beyond that, often only with the help of
    dropout's zeros. The loss
    is the mean of the cross-entropy over the batch, or its sum. Masks equal the client's except at
    units that were zero to rounding anyway. The same input gives the same output.

    y: the labels, (batch,), where they are known; otherwise they are found as well.

    Raises ValueError for a single image, a gradient of another model, a classifier that is not
    linear, labels of another number, and labels to be found for a classifier without bias.
    """
    checks.check(model, shared)
    batch = shared.x_shape[0]
    _check_labels(shared, batch, y)
    classifier = classifier_of(shared)
    rank, rows = row_space(classifier.gradient, batch, shared.like.dtype)
    traces = mixing_solution.count_traces(classifier, rows.eps)
    full = batch >= shared.classes and traces >= shared.classes - 1
    if rank > batch or full or (traces < batch and not classifier.has_bias):
        return Separation(None, 0, math.nan, reasons.wrong_rank(rank, batch, shared.classes))
    traces = min(traces, batch)
    rows = rows.first(traces)
    y = y if traces == batch else None  # whose labels they are is not known
    name, rate = _dropout_before(model, shared, shared.classifier[0])
    found = _by_zeros(classifier, rows, batch, rate) if rate and classifier.has_bias else None
    if found is None or not found.certain:
        found = _by_delta(classifier, traces, batch, y, rows.eps)
    if found is None:
        reason = reasons.impossible(traces, batch, shared.classes)
        return Separation(None, 0, math.nan, reason)
    residual = classifier.residual(found.inputs, found.delta)
    if not found.certain:
        reason = reasons.no_certificate(residual, traces, batch, shared.classes)
        return Separation(None, 0, residual, reason)
    told_apart = found.error <= _TOLD_APART
    if traces < batch or not told_apart.all():
        found = found.blurred()
        told_apart = found.error <= _TOLD_APART
    reason = reasons.incomplete(told_apart, batch, found)
    if not told_apart.any():
        return Separation(None, 0, residual, reason)
    found = found.select(told_apart)
    reading = _reading(shared, found, rows, name, rate)
    return Separation(reading, len(found.y), residual, reason, found.error.to(shared.like))


def _check_labels(shared: Shared, batch: int, y: Tensor | None) -> None:
    """Raises ValueError for a single image, and for labels that are missing or not one for each."""
    if batch == 1:
        raise ValueError("a batch of one needs no separation; use masks.read")
    weight, bias = shared.classifier
    if y is None and bias is None:
        raise ValueError(
            f"{weight} has no bias, whose gradient says how many images of each class there are; "
            "pass the labels, y=, or ask for one image a round and use masks.read"
        )
    if y is None:
        return
    if not isinstance(y, Tensor) or y.dtype != torch.int64:
        kind = y.dtype if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(
            f"labels are an int64 tensor of class ids, got {kind}; try torch.tensor(y)"
        )
    if y.shape != (batch,):
        raise ValueError(
            f"there are {batch} images, hence labels of shape ({batch},), got {tuple(y.shape)}"
        )
    if not ((y >= 0) & (y < shared.classes)).all():
        raise ValueError(
            f"labels lie in 0 … {shared.classes - 1} for this model, "
            f"got {int(y.min())} to {int(y.max())}"
        )


def _by_zeros(classifier: Classifier, rows: RowSpace, batch: int, rate: float) -> Found | None:
    """The images by the zeros of dropout; None if too few have as many as its rate makes."""
    w = _find_images(rows, rate)
    if len(w) < len(rows.basis):
        return None
    inputs, y = classifier.read(rows, w)
    return mixing_solution.near(classifier, inputs, y, 1 / batch, rows.eps)


def _by_delta(
    classifier: Classifier, traces: int, batch: int, y: Tensor | None, eps: float
) -> Found | None:
    """The images by their δ; the loss is taken as a mean, then as a sum, where that is possible.

    Where some images left no trace it is a mean: two images with one δ look like one and a sum.

    Args:
        classifier: weights and gradient.
        traces: images that the gradient shows.
        batch: images that there are.
        y: (batch,), the labels; None: they are sought too.
        eps: the relative error of the gradient.

    Returns None if no labels agree with the gradient.
    """
    best = None
    for factor in (1 / batch, 1.0) if traces == batch else (1 / batch,):
        if not images_in_turn.possible(classifier.delta_sum(factor), traces):
            continue
        found = images_in_turn.search(classifier, traces, factor, y, eps)
        if best is None or found.misfit < best.misfit:
            best = found
        if best.certain:
            break
    return best


def _reading(shared: Shared, found: Found, rows: RowSpace, name: str, rate: float) -> Reading:
    """The reading of a batch that is certain; units that are zero to their error were dropped."""
    inputs = found.inputs
    masks = {}
    if name:
        zeros = rows.zeros_of(inputs, found.error)
        inputs = inputs.masked_fill(zeros, 0)
    if shared.classifier[1]:
        inputs = inputs[:, :-1]
    if name:
        kept = (inputs != 0).to(shared.like)
        masks[name] = kept / (1 - rate)
    return Reading(found.y, found.delta.to(shared.like), inputs.to(shared.like), masks)


def _dropout_before(model: nn.Module, shared: Shared, weight: str) -> tuple[str, float]:
    """Name and rate of the mask before the classifier; without dropout there, no name and zero."""
    layers = linear_after(model, shared.x_shape)
    for name, layer in layers.items():
        if layer == weight:
            return name, models.dropouts(model)[name].p
    return "", 0.0


def _find_images(rows: RowSpace, rate: float) -> Tensor:
    """The combinations of the gradient's rows with an image's share of zeros: (found, batch)."""
    by_all = rate ** len(rows.basis)  # the share of units that every image dropped
    seen = rows.column_norms > 0
    seen[-1] = False  # the column of the bias has no zeros
    of_the_others = (rate - by_all) / (1 - by_all)
    return find_sparse(rows.select(seen), of_the_others)
