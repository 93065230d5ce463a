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
together determine the combinations; `mixing` writes the equations, and `mixing_search` solves them.

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
from dlgutils.analytic import mixing_search, reasons
from dlgutils.analytic.classifier import Classifier, classifier_of
from dlgutils.analytic.masks import Reading, linear_after, units_kept
from dlgutils.analytic.mixing_search import Found
from dlgutils.analytic.sparse_rows import RowSpace, find_sparse, row_space
from dlgutils.federated import checks
from dlgutils.federated.alignment import align
from dlgutils.federated.consistency import require_gradient
from dlgutils.types import Shared

_TOLD_APART = 0.1  # the largest error of features, relative to their length


class Separation(NamedTuple):
    """What became of a batch: a reading if it is certain, and how far the search came if not."""

    reading: Reading | None  # only with a certificate; its images come in no particular order
    n_found: int  # images whose features were told apart
    residual: float  # ‖G − Δᵀ H‖ / ‖G‖ with Δ recomputed; nan if nothing was found
    reason: str  # why there is no reading; empty if there is one
    error: Tensor | None = None  # (batch,): error bars of the features, relative to their length


def separate(model: nn.Module, shared: Shared, *, y: Tensor | None = None) -> Separation:
    """Labels, features and dropout masks of every image of a batch, from the last layer's gradient.

    The reading is that of `masks.read` for several images, with the mask of the dropout layer
    before the classifier alone; the order of the images is arbitrary. It comes with a certificate:
    put through the classifier, its features and labels give the shared gradient back, each row of
    it to rounding. And it comes with error bars: the features of image i are off by about
    `error[i]` of their length. Without a certificate, or where an error bar is above 0.1, `reading`
    is None and `reason` says why.

    There must be fewer images than classes. Up to half as many as classes most batches come apart,
    without dropout too (`dlgutils/tables/mixing.csv`); beyond that, often only with the help of
    dropout's zeros. The loss
    is the mean of the cross-entropy over the batch, or its sum. Masks equal the client's except at
    units that were zero to rounding anyway. The same input gives the same output.

    y: the labels, (batch,), where they are known; otherwise they are found as well.

    Raises ValueError for a single image, a gradient of another model, a classifier that is not
    linear, labels of another number, and labels to be found for a classifier without bias.
    """
    model, (shared,) = align(model, shared)
    checks.check(model, shared)
    shared = require_gradient(model, shared)
    batch = shared.x_shape[0]
    _check_labels(shared, batch, y)
    classifier = classifier_of(shared)
    rank, rows = row_space(classifier.gradient, batch, shared.precision)
    if rank != batch:
        return Separation(None, 0, math.nan, reasons.wrong_rank(rank, batch, shared.classes))
    dropped = _dropout_before(model, shared, shared.classifier[0])
    rates = [layer.p for layer in dropped.values() if classifier.has_bias]
    found = _by_zeros(classifier, rows, *rates) if rates else None
    if found is None or not found.certain:
        found = _by_delta(classifier, batch, y, rows.eps)
    if found is None:
        return Separation(None, 0, math.nan, reasons.impossible(batch))
    residual = classifier.residual(found.inputs, found.delta)
    told_apart = int((found.error <= _TOLD_APART).sum())
    if not found.certain:
        reason = reasons.no_certificate(residual, batch, shared.classes)
        return Separation(None, 0, residual, reason)
    if told_apart < batch:
        reason = reasons.too_alike(told_apart, batch, found)
        return Separation(None, told_apart, residual, reason, found.error.to(shared.like))
    reading = _reading(shared, found, rows, dropped)
    return Separation(reading, batch, residual, "", found.error.to(shared.like))


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


def _by_zeros(classifier: Classifier, rows: RowSpace, rate: float) -> Found | None:
    """The batch by the zeros of dropout; None if too few images have as many as its rate makes."""
    batch = len(rows.basis)
    w = _find_images(rows, rate)
    if len(w) < batch:
        return None
    inputs, y = classifier.read(rows, w)
    return mixing_search.near(classifier, inputs, y, 1 / batch, rows.eps)


def _by_delta(classifier: Classifier, batch: int, y: Tensor | None, eps: float) -> Found | None:
    """The batch by its δ; the loss is taken as a mean, then as a sum, where that is possible.

    None: neither can be.
    """
    best = None
    for factor in (1 / batch, 1.0):
        if not mixing_search.possible(classifier, batch, factor):
            continue
        found = mixing_search.search(classifier, batch, factor, y, eps)
        if best is None or found.misfit < best.misfit:
            best = found
        if best.certain:
            break
    return best


def _reading(
    shared: Shared, found: Found, rows: RowSpace, dropped: dict[str, models.Dropout]
) -> Reading:
    """The reading of a batch that is certain; units that are zero to their error were dropped."""
    inputs = found.inputs
    masks = {}
    if dropped:
        zeros = rows.zeros_of(inputs, found.error)
        inputs = inputs.masked_fill(zeros, 0)
    if shared.classifier[1]:
        inputs = inputs[:, :-1]
    for name, layer in dropped.items():
        kept = units_kept(inputs != 0, layer)
        masks[name] = kept.to(shared.like) / (1 - layer.p)
    return Reading(found.y, found.delta.to(shared.like), inputs.to(shared.like), masks)


def _dropout_before(model: nn.Module, shared: Shared, weight: str) -> dict[str, models.Dropout]:
    """The dropout before the classifier by the name of its mask; empty: there is none."""
    layers = linear_after(model, shared.x_shape)
    for name, layer in layers.items():
        if layer == weight:
            return {name: models.dropouts(model)[name]}
    return {}


def _find_images(rows: RowSpace, rate: float) -> Tensor:
    """The combinations of the gradient's rows with an image's share of zeros: (found, batch)."""
    by_all = rate ** len(rows.basis)  # the share of units that every image dropped
    seen = rows.column_norms > 0
    seen[-1] = False  # the column of the bias has no zeros
    of_the_others = (rate - by_all) / (1 - by_all)
    return find_sparse(rows.select(seen), of_the_others)
