"""The two ways in which a batch comes apart: by the zeros of dropout, and by its own δ."""

from torch import Tensor

from dlgutils.analytic import images_in_turn, mixing_solution
from dlgutils.analytic.classifier import Classifier
from dlgutils.analytic.mixing_solution import Found
from dlgutils.analytic.sparse_rows import RowSpace, find_sparse


def by_zeros(classifier: Classifier, rows: RowSpace, batch: int, rate: float) -> Found | None:
    """The images by the zeros of dropout; None if too few have as many as its rate makes.

    Args:
        classifier: weights and gradient, in float64.
        rows: the row space of the gradient.
        batch: images that there are; the loss is their mean.
        rate: of the dropout before the classifier.
    """
    w = _find_images(rows, rate)
    if len(w) < len(rows.basis):
        return None
    inputs, y = classifier.read(rows, w)
    return mixing_solution.near(classifier, inputs, y, 1 / batch, rows.eps)


def by_delta(
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


def _find_images(rows: RowSpace, rate: float) -> Tensor:
    """The combinations of the gradient's rows with an image's share of zeros: (found, batch)."""
    by_all = rate ** len(rows.basis)  # the share of units that every image dropped
    seen = rows.column_norms > 0
    seen[-1] = False  # the column of the bias has no zeros
    of_the_others = (rate - by_all) / (1 - by_all)
    return find_sparse(rows.select(seen), of_the_others)
