"""Taking the images of a batch apart, by the zeros in what entered the classifier.

**What is known.** The classifier is z = W h + b, where h are the features of one image after
dropout. Let δ_i = ∂loss/∂z_i for image i, and Δ the matrix of the rows δ_i, (batch, classes). The
gradients of W and b side by side are a sum over the images:

    G = [∂loss/∂W, ∂loss/∂b] = Σ_i δ_i [h_i, 1] = Δᵀ H,  where H has the rows [h_i, 1].

If the δ_i are linearly independent, some w has w·δ_i = 1 for one image and 0 for all others, and
wᵀ G = [h_i, 1]. So the features of every image are a combination of the rows of G. The question is
which one, since any B independent combinations span the same space. Each δ_i sums to zero, so at
most classes − 1 of them are independent: there must be fewer images than classes.

**The images are the combinations with many zeros.** Dropout of rate p makes a share p of each h_i
zero. A mixture Σ c_i h_i of k ≥ 2 images is zero where all k were dropped, a share pᵏ, and
elsewhere only by chance, since features are real numbers. Units that all B images dropped are zero
in every combination and say nothing. Of the others, one image dropped the share
(p − pᴮ) / (1 − pᴮ), and a mixture at most (p² − pᴮ) / (1 − pᴮ); `sparse_rows.find_sparse` looks for
the former. Zeros of ReLUs serve as well (Dimitrov et al. 2024, arXiv:2403.03945); sigmoids without
dropout have none.

**What is read.** A combination with many zeros is some [h_i, 1] up to its length, and the entry of
the bias, which must be one, gives the length. With H known, Δᵀ H = G gives the δ_i, and each of
them is negative only at its label.

**The certificate.** δ_i is also (softmax(W h_i + b) − onehot(y_i)) / B. Computed in this way from
the features and labels that were read, Δ must give G back to rounding. Mixtures M H do not pass:
they need the mixtures M⁻ᵀ Δ of the δ, which are not softmax − onehot of M H.
"""

import math
from typing import NamedTuple

from torch import Tensor, nn

from dlgutils import models
from dlgutils.analytic.classifier import join_bias
from dlgutils.analytic.masks import Reading, linear_after
from dlgutils.analytic.sparse_rows import RowSpace, find_sparse, row_space
from dlgutils.federated import checks
from dlgutils.types import Shared

_ZEROS_OF_RELUS = 0.25  # the share of zeros looked for without dropout


class Separation(NamedTuple):
    """What became of a batch: a reading if it is certain, and how far the search came if not."""

    reading: Reading | None  # only with a certificate; its images come in no particular order
    n_found: int  # images whose features were told apart
    residual: float  # ‖G − Δᵀ H‖ / ‖G‖ with Δ recomputed; nan if not all images were found
    reason: str  # why there is no reading; empty if there is one


def separate(model: nn.Module, shared: Shared) -> Separation:
    """Labels, features and dropout masks of every image of a batch, from the last layer's gradient.

    The reading is that of `masks.read` for several images, with the mask of the dropout layer
    before the classifier alone; the order of the images is arbitrary. It comes with a certificate:
    put through the classifier, its features and labels give the shared gradient back, to a relative
    residual below 100 eps of the dtype. Without one, `reading` is None and `reason` says why.

    Features are exact up to rounding times the condition of the δ, which is large for images of
    equal labels. Masks equal the client's except at units that were zero to rounding anyway. There
    must be fewer images than classes, and zeros: dropout's, or those of ReLUs. The same input gives
    the same output.

    Raises ValueError for a single image, a gradient of another model, and a classifier that is not
    linear or has no bias.
    """
    checks.check(model, shared)
    batch = shared.x_shape[0]
    if batch == 1:
        raise ValueError("a batch of one needs no separation; use masks.read")
    weight, bias = shared.classifier
    if bias is None:
        raise ValueError(
            f"{weight} has no bias, and only the gradient of a bias shows how long each δ is; "
            "ask for one image a round and use masks.read"
        )
    classifier = join_bias(shared, weight, bias)
    rank, rows = row_space(classifier.gradient, batch)
    if rank != batch:
        return Separation(None, 0, math.nan, _wrong_rank(rank, batch, shared.classes))
    name, rate = _dropout_before(model, shared, weight)
    w = _find_images(rows, rate or _ZEROS_OF_RELUS)
    found = len(w)
    if found < batch:
        return Separation(None, found, math.nan, _too_few_zeros(found, batch, rate))
    inputs, y = classifier.read(rows, w)
    delta = classifier.delta(inputs, y)
    residual = classifier.residual(inputs, delta)
    if not residual <= 100 * rows.eps:
        return Separation(None, 0, residual, _another_gradient(residual, batch))
    features = inputs[:, :-1].to(shared.like)
    masks = {}
    if name:
        kept = (features != 0).to(features)
        masks[name] = kept / (1 - rate)
    reading = Reading(y, delta.to(features), features, masks)
    return Separation(reading, batch, residual, "")


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


def _wrong_rank(rank: int, batch: int, classes: int) -> str:
    """The reason if the rank of the gradient is not the number of images."""
    if rank > batch:
        return (
            f"the gradient has rank {rank}, that of {batch} images has at most {batch}: noise, "
            "or the loss is not a mean over the batch"
        )
    if batch >= classes:
        return (
            f"{batch} images have {batch} δ, but with {classes} classes only {classes - 1} of "
            "them can be independent"
        )
    return (
        f"only {rank} of the {batch} δ are independent to rounding: an image came twice, or is "
        "already classified too well to leave a trace"
    )


def _too_few_zeros(found: int, batch: int, rate: float) -> str:
    """The reason if the search found too few images; rate: of dropout, 0 without it."""
    zeros = "zeros, and there is no dropout to make them"
    if rate:
        zeros = f"as many zeros as dropout of {rate:g} makes"
    return (
        f"{found} of {batch} images were told apart: "
        f"no other combinations of the gradient's rows were found with {zeros}"
    )


def _another_gradient(residual: float, batch: int) -> str:
    """The reason if what was read does not give the gradient back."""
    return (
        f"{batch} vectors with many zeros were found, but as features they yield another gradient "
        f"(relative residual {residual:.0e}): chance, noise, another loss or other weights"
    )
