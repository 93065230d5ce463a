"""Taking a batch apart whose gradient was multiplied by a number that nobody said.

That number is one more unknown, the same for all equations. Up to half as many images as classes
the equations of single images do without it (`single_images`), and the first image that they find
says what it is. Where they find nothing, all images are sought together, from guesses of it:
of a network without preferences, δ sums to softmax(b) times the images at every class without any;
and whatever the network, at most as many labels as there are images pull the bias.
"""

from collections.abc import Sequence

from torch import Tensor

from dlgutils.analytic import images_in_turn, label_counts
from dlgutils.analytic.classifier import Classifier
from dlgutils.analytic.images_in_turn import ROUNDING, Mixture
from dlgutils.analytic.known_labels import known_labels
from dlgutils.analytic.mixing_search import search_together
from dlgutils.analytic.mixing_solution import Found
from dlgutils.analytic.mixing_system import row_scale_of, system_of

_MORE_THAN_LEAST = (1.1, 1.5, 2.5, 6.0)  # guesses of the factor, in units of the least there is


def search(
    classifier: Classifier, images: int, factors: Sequence[float], y: Tensor | None, eps: float
) -> Found | None:
    """The batch that fits the gradient best, by whatever number the loss multiplies δ.

    Args:
        classifier: weights and gradient, in float64.
        images: how many there are, all of which left a trace.
        factors: where to begin with all images together, if none is determined alone.
        y: (images,), the labels; None: they are sought too.
        eps: the relative error of the gradient.

    Returns None where nothing was found.
    """
    system = system_of(classifier, images, 1 / images, row_scale_of(classifier, eps), known=False)
    whole = Mixture(classifier, images, y, eps, system, ROUNDING * eps)
    best = images_in_turn.search_in_turn(whole)
    if best is not None and best.certain:
        return best
    for factor in factors:
        delta_sum = classifier.delta_sum(factor)
        if not label_counts.possible(delta_sum, images):
            continue
        there = system.multiplied(factor / system.factor)
        labels = known_labels(there, y, delta_sum, whole.slack)
        found = search_together(there, labels, eps, attempts=1)
        if best is None or found.misfit < best.misfit:
            best = found
        if best.certain:
            break
    return best


def guesses(classifier: Classifier, images: int) -> list[float]:
    """What the loss may multiply δ by, the likeliest first.

    Args:
        classifier: weights and gradient.
        images: how many there are in the gradient.
    """
    if not classifier.has_bias:
        return [1 / images, 1.0]
    gradient = classifier.gradient[:, -1]
    negative, positive = int((gradient < 0).sum()), int((gradient > 0).sum())
    sign = 1.0 if negative <= positive else -1.0
    gradient = sign * gradient
    others = gradient > 0
    equal = gradient[others] / (images * classifier.weights[:, -1].softmax(0)[others])
    least = float(-gradient.clamp(max=0).sum()) / images
    sizes = [float(equal.median()), *(more * least for more in _MORE_THAN_LEAST)]
    return [sign * size for size in sizes]
