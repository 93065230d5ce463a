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

from torch import Tensor, nn

from dlgutils import models
from dlgutils.analytic import labels, mixing_system, reasons, replay, ways_apart
from dlgutils.analytic.classifier import classifier_of
from dlgutils.analytic.masks import Reading, linear_after, units_kept
from dlgutils.analytic.mixing_solution import Found
from dlgutils.analytic.sparse_rows import RowSpace, row_space
from dlgutils.federated import checks
from dlgutils.federated.alignment import align
from dlgutils.federated.readable import require_gradient
from dlgutils.types import Shared

TOLD_APART = 0.01  # the largest error bar of features, relative to their length


class Separation(NamedTuple):
    """What became of a batch: a reading of what is certain, and why it is not more."""

    reading: Reading | None  # only with a certificate: n_found images, in no particular order
    n_found: int  # images whose features were told apart, of all of the batch
    residual: float  # ‖G − Δᵀ H‖ / ‖G‖ with Δ recomputed; nan if nothing was found
    reason: str  # why not all images were read; empty if they were
    error: Tensor | None = None  # (n_found,): error bars of the features, relative to their length
    scale: float = math.nan  # by which the gradient was multiplied beyond its loss, if it was found


def separate(
    model: nn.Module, shared: Shared, *, y: Tensor | None = None, effort: int = 1
) -> Separation:
    """Labels, features and dropout masks of every image of a batch, from the last layer's gradient.

    The reading is that of `masks.read` for several images, with the mask of the dropout layer
    before the classifier alone; the order of the images is arbitrary. It comes with a certificate:
    put through the classifier, its features and labels give the shared gradient back, each row of
    it to rounding. And it comes with error bars: the features of image i are off by at most
    `error[i]` of their length, which also held in four rounds of known images near those that were
    read (`replay`). Without a certificate `reading` is None. Images whose δ are below rounding,
    since the network is sure of them, left no trace: then the reading has fewer rows than the
    batch, and the others add nothing to the gradient. Images whose error bar is above 0.01 are left
    out too. In all these cases `reason` says why.

    There must be fewer images than classes. Up to half as many as classes most batches come apart,
    without dropout too (`dlgutils/tables/mixing.csv`); beyond that, often only with the help of
    dropout's zeros. The loss is the mean of the cross-entropy over the batch, or its sum; `scale`
    is what the gradient was multiplied by beyond what its protocol's loss says, so of a sum that
    was not announced the number of images. Where the protocol leaves the scale open,
    `Protocol(scale=None)`, it is one more unknown, and found if all images left a trace; where it
    states another than the true one, nothing is read, and `reason` says which one fits.
    Masks equal the client's except at units that were zero to rounding anyway.

    Args:
        model: the network.
        shared: one round.
        y: the labels, (batch,), where they are known; otherwise they are found as well. What is
            found beside images without a trace has labels that are among them, or is refused.
        effort: multiplies the starts of a search for all images together; 1 refuses in seconds.

    Raises ValueError for a single image, a gradient of another model, a classifier that is not
    linear, labels of another number, labels to be found for a classifier without bias, an effort
    below 1, and for defences that leave no certificate: all but clipping and half precision.
    """
    if not isinstance(effort, int) or effort < 1:
        raise ValueError(f"effort multiplies the starts, a whole number from 1 on, got {effort!r}")
    model, (shared,) = align(model, shared)
    checks.check(model, shared)
    stated = shared.protocol.scale or 1.0
    shared = require_gradient(model, shared)
    batch = shared.x_shape[0]
    labels.check_given(shared, y)
    classifier = classifier_of(shared)
    rank, rows = row_space(classifier.gradient, batch, shared.precision)
    traces = mixing_system.count_traces(classifier, rows.eps)
    full = batch >= shared.classes and traces >= shared.classes - 1
    if rank > batch or full or (traces < batch and not classifier.has_bias):
        return Separation(None, 0, math.nan, reasons.wrong_rank(rank, batch, shared.classes))
    traces = min(traces, batch)
    rows = rows.first(traces)
    dropped = _dropout_before(model, shared, shared.classifier[0])
    scale_known = shared.protocol.scale is not None
    if traces < batch and not scale_known:
        return Separation(None, 0, math.nan, reasons.scale_undetermined(traces, batch))
    rates = [layer.p for layer in dropped.values() if classifier.has_bias]
    seen = ways_apart.Seen(classifier, rows, batch, y if traces == batch else None, effort)
    plain = 1.0 if shared.protocol.sums else 1 / batch
    found = _find(seen, rates, plain if scale_known else None)
    if found is None:
        return Separation(None, 0, math.nan, reasons.impossible(traces, batch, shared.classes))
    residual = classifier.residual(found.inputs, found.delta)
    scale = stated * found.factor / plain
    if not found.certain:
        reason = reasons.no_certificate(residual, traces, batch, shared.classes)
    elif scale_known and found.factor_error:
        reason = reasons.other_scale(scale)
    else:
        return _of_certain(shared, seen, found, y, dropped)._replace(scale=scale)
    return Separation(None, 0, residual, reason)


def _find(seen: ways_apart.Seen, rates: list[float], factor: float | None) -> Found | None:
    """The images; with another factor than this one only where no certain answer has it."""
    if factor is None:
        return ways_apart.find_with_scale(seen, *rates)
    found = ways_apart.find(seen, factor, *rates)
    if len(seen.rows.basis) < seen.batch or (found is not None and found.certain):
        return found
    return ways_apart.find_other_scale(seen, factor) or found


def _of_certain(
    shared: Shared,
    seen: ways_apart.Seen,
    found: Found,
    y: Tensor | None,
    dropped: dict[str, models.Dropout],
) -> Separation:
    """What can be said of a batch that has a certificate: the images that are told apart.

    Args:
        shared: the round.
        seen: its classifier.
        found: the images that left a trace.
        y: the labels of all images, (batch,), if they are known.
        dropped: the dropout before the classifier.
    """
    classifier, rows, batch = seen.classifier, seen.rows, seen.batch
    residual = classifier.residual(found.inputs, found.delta)
    if y is not None and not labels.are_among(found.y, y):
        return Separation(None, 0, residual, reasons.other_labels(found.y, y))
    found = replay.checked(classifier, found, rows.eps, shared.like, shared.precision)
    if found.factor_error > TOLD_APART:
        return Separation(None, 0, residual, reasons.scale_undetermined(len(found.y), batch))
    if len(found.y) < batch or not (found.error <= TOLD_APART).all():
        found = found.blurred()
    told_apart = found.error <= TOLD_APART
    reason = reasons.incomplete(told_apart, batch, found)
    if not told_apart.any():
        return Separation(None, 0, residual, reason)
    found = found.select(told_apart)
    reading = _reading(shared, found, rows, dropped)
    return Separation(reading, len(found.y), residual, reason, found.error.to(shared.like))


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
    for name, layer in linear_after(model, shared.x_shape).items():
        if layer == weight:
            return {name: models.dropouts(model)[name]}
    return {}
