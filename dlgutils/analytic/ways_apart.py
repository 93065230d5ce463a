"""The two ways in which a batch comes apart: by the zeros of dropout, and by its own δ."""

from typing import NamedTuple

from torch import Tensor

from dlgutils.analytic import images_in_turn, label_counts, mixing_solution, unknown_scale
from dlgutils.analytic.classifier import Classifier
from dlgutils.analytic.mixing_solution import Found
from dlgutils.analytic.sparse_rows import RowSpace, find_sparse


class Seen(NamedTuple):
    """What the gradient of a classifier shows."""

    classifier: Classifier  # weights and gradient, in float64
    rows: RowSpace  # of the gradient, as many as images left a trace
    batch: int  # images that there are
    y: Tensor | None  # (batch,), the labels; None: they are sought too
    effort: int = 1  # by which the number of starts is multiplied


def find(seen: Seen, factor: float, rate: float | None = None) -> Found | None:
    """The images by zeros, and if there is no certain answer by their δ; None if there is none.

    Args:
        seen: the gradient.
        factor: by which the loss multiplies δ: one over the batch where it is a mean.
        rate: of the dropout before the classifier; None: there is none.
    """
    found = by_zeros(seen, factor, rate) if rate else None
    if found is not None and found.certain:
        return found
    traces = len(seen.rows.basis)
    if not label_counts.possible(seen.classifier.delta_sum(factor), traces):
        return None
    classifier, eps = seen.classifier, seen.rows.eps
    return images_in_turn.search(classifier, traces, factor, seen.y, eps, seen.effort)


def find_with_scale(seen: Seen, rate: float | None = None) -> Found | None:
    """The same where the loss may multiply δ by any number; all images must have left a trace."""
    found = by_zeros(seen, None, rate) if rate else None
    if found is not None and found.certain:
        return found
    factors = unknown_scale.guesses(seen.classifier, seen.batch)
    return unknown_scale.search(seen.classifier, seen.batch, factors, seen.y, seen.rows.eps)


def find_other_scale(seen: Seen, factor: float) -> Found | None:
    """The same for a gradient that does not fit the factor which its protocol says, in short.

    A sum instead of a mean, or the other way round, is the likeliest, and all that is tried where
    no image is determined alone. Returns None unless it is certain.
    """
    other = 1.0 if factor < 1 else 1 / seen.batch
    found = unknown_scale.search(seen.classifier, seen.batch, [other], seen.y, seen.rows.eps)
    if found is None or not found.certain:
        return None
    for plain in (factor, other):
        again = mixing_solution.near(seen.classifier, found.inputs, found.y, plain, seen.rows.eps)
        if again.certain:
            return again
    return found


def by_zeros(seen: Seen, factor: float | None, rate: float) -> Found | None:
    """The images by the zeros of dropout; None if too few have as many as its rate makes.

    Args:
        seen: the gradient.
        factor: by which the loss multiplies δ; None: it is found too.
        rate: of the dropout before the classifier.
    """
    rows = seen.rows
    if len(rows.basis) == 1:
        return None  # of one image all zeros are zeros of the sum, which are left out
    w = _find_images(rows, rate)
    if len(w) < len(rows.basis):
        return None
    inputs, y = seen.classifier.read(rows, w)
    return mixing_solution.near(seen.classifier, inputs, y, factor, rows.eps)


def _find_images(rows: RowSpace, rate: float) -> Tensor:
    """The combinations of the gradient's rows with an image's share of zeros: (found, batch)."""
    by_all = rate ** len(rows.basis)  # the share of units that every image dropped
    seen = rows.column_norms > 0
    seen[-1] = False  # the column of the bias has no zeros
    of_the_others = (rate - by_all) / (1 - by_all)
    return find_sparse(rows.select(seen), of_the_others)
