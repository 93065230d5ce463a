"""The images of a batch in turn: those first that are determined alone.

One image has equations of its own (`single_images`), whatever the others are. Once it is found it
is subtracted from the gradient, and the rest is a smaller batch, of which more is determined. Where
nothing is, the rest is sought together. An image may be mistaken: to rounding, the δ of a network
that wavers between two classes are on one line, whichever of the two is the label. So the likeliest
choices are followed to the end, and if what is found does not give the gradient back, choices that
were next are tried, those with the fewest changes first.
"""

import heapq
import itertools
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from dlgutils.analytic import known_labels, label_counts, mixing, mixing_search, single_images
from dlgutils.analytic.classifier import Classifier
from dlgutils.analytic.mixing import System
from dlgutils.analytic.mixing_solution import Found, near, polish
from dlgutils.analytic.mixing_system import row_scale_of, system_of

_FIRST_ATTEMPTS = 2  # at all images together
_ONLY_ATTEMPTS = 16  # the same beyond half the classes, where no image is determined alone
_ATTEMPTS = 6  # at those that are left where nothing is determined alone
_ATTEMPTS_BESIDE = 2  # at those that are left where something is
_TRIED_AT_ONCE = 4  # of the batches that may be left
_NEAR = 0.3  # the residual of what may be an answer for them, where rows have the length one
_NODES = 30
ROUNDING = 30.0  # of the relative error: how far below zero a sum without negative terms may be
_SLACK = 3e-3  # of an image: how far sums of δ may be off once images were subtracted


class _Node(NamedTuple):
    """Images that were found so far."""

    turns: tuple[int, int]  # sum of the ranks of all choices, images at the last that was not first
    together: bool  # whether the others are to be sought together
    inputs: Tensor  # (n, features + 1)
    y: Tensor  # (n,)
    factor: float  # by which the loss multiplies δ, as far as it is known


class Mixture(NamedTuple):
    """What is searched for."""

    classifier: Classifier
    images: int
    y: Tensor | None
    eps: float
    system: System  # of all images
    slack: float  # below zero, of sums without negative terms, where rows have the length one

    def _without(self, node: _Node) -> "Mixture":
        """The rest of the batch, in equations of the same weights."""
        missing = self.images - len(node.y)
        rest = self.classifier.without(node.inputs, node.y, node.factor)
        y = None if self.y is None else label_counts.without(self.y, node.y)
        row_scale = self.system.scale / self.system.factor
        known = self.system.factor_known
        system = system_of(rest, missing, node.factor, row_scale, known=known)
        return Mixture(rest, missing, y, self.eps, system, _SLACK)

    @property
    def delta_sum(self) -> Tensor | None:
        """Δ summed over the images, if the factor is that of the system; None without a bias."""
        return self.classifier.delta_sum(self.system.factor)


def search(
    classifier: Classifier,
    images: int,
    factor: float,
    y: Tensor | None,
    eps: float,
    effort: int = 1,
) -> Found:
    """The batch that fits the gradient best; it stops at the first that is certain.

    All images together first, from a few starts; then those that are determined alone.

    Args:
        classifier: weights and gradient, in float64.
        images: how many there are in the gradient.
        factor: by which the loss multiplies δ: one over the batch where it is a mean.
        y: (images,), the labels; None: they are sought too.
        eps: the relative error of the gradient.
        effort: by which the number of starts of all images together is multiplied.
    """
    system = system_of(classifier, images, factor, row_scale_of(classifier, eps))
    batch = Mixture(classifier, images, y, eps, system, ROUNDING * eps)
    alone = 2 * images <= len(system.bias)
    attempts = _FIRST_ATTEMPTS if alone else _ONLY_ATTEMPTS
    attempts = effort * mixing_search.affordable(images, attempts)
    labels = known_labels.known_labels(system, y, batch.delta_sum, batch.slack)
    found = mixing_search.search_together(system, labels, eps, attempts=attempts)
    if found.certain:
        return found
    again = search_in_turn(batch)
    return again if again is not None and again.misfit < found.misfit else found


def search_in_turn(batch: Mixture) -> Found | None:
    """The batch, images that are determined alone first; None if nothing was found."""
    generator = Generator().manual_seed(0)
    none = torch.empty(0, dtype=torch.int64)
    root = _Node((0, 0), False, batch.classifier.gradient[:0], none, batch.system.factor)
    heap, best = [(root.turns, 0, root)], None
    numbers = itertools.count(-1, -1)  # downwards: of equal turns the newest goes first
    for _ in range(_NODES):
        if not heap:
            break
        *_, node = heapq.heappop(heap)
        children = [] if node.together else _children(batch, node, generator)
        for child in children:
            heapq.heappush(heap, (child.turns, next(numbers), child))
        if children:
            continue
        found = _completed(batch, node)
        if found is None:
            continue
        if best is None or found.misfit < best.misfit:
            best = found
        if best.certain:
            break
    return best


def _children(batch: Mixture, node: _Node, generator: Generator) -> list[_Node]:
    """What may be found next, and last that nothing more is determined alone."""
    found = len(node.y)
    if found == batch.images:
        return []
    rest = batch._without(node) if found else batch
    classes = known_labels.to_try(rest.system, rest.y, rest.delta_sum, rest.slack, _SLACK)
    if not found and not batch.system.factor_known and batch.classifier.has_bias:
        classes = label_counts.of_either_sign(batch.classifier.gradient[:, -1], batch.images)
    sets = single_images.find(rest.system, classes, generator)
    children = []
    for k, images in enumerate(sets):
        inputs = torch.cat([node.inputs, images.v @ rest.system.basis])
        turns = (node.turns[0] + k, found) if k else node.turns
        y = torch.cat([node.y, images.y])
        children.append(_Node(turns, False, inputs, y, images.factor))
    if sets and found:
        turns = (node.turns[0] + 1, found)
        children.append(node._replace(turns=turns, together=True))
    return children


def _completed(batch: Mixture, node: _Node) -> Found | None:
    """The batch with the images of a node, the others sought together; None if it cannot be."""
    if not len(node.y) and not batch.system.factor_known:
        return None
    if len(node.y) == batch.images:
        factor = node.factor if batch.system.factor_known else None
        return near(batch.classifier, node.inputs, node.y, factor, batch.eps)
    rest = batch._without(node)
    if not label_counts.possible(rest.delta_sum, rest.images, _SLACK):
        return None
    delta_sum = rest.delta_sum
    if delta_sum is not None:
        delta_sum = delta_sum.where(delta_sum.abs() > _SLACK, 0)
    attempts = mixing_search.affordable(
        rest.images, _ATTEMPTS_BESIDE if node.together else _ATTEMPTS
    )
    labels = known_labels.known_labels(rest.system, rest.y, delta_sum, rest.slack)
    chunks = mixing_search.descents(rest.system, labels, batch.eps, keep=_TRIED_AT_ONCE)
    system = batch.system.multiplied(node.factor / batch.system.factor)
    best = None
    for point, onehot in itertools.islice(chunks, attempts):
        near_zero = point.loss < _NEAR**2
        if not near_zero.any():
            continue
        others, onehot = point.m[near_zero] @ rest.system.basis, onehot[near_zero]
        known = node.inputs.expand(len(others), -1, -1)
        of_known = mixing.labels_as_onehot(node.y, onehot.shape[2])
        m = torch.cat([known, others], 1) @ system.basis.T
        onehot = torch.cat([of_known.expand(len(others), -1, -1), onehot], 1)
        point, onehot = mixing.prune(mixing.descend(system, m, onehot), onehot, 1)
        found = polish(system, point.m, onehot, batch.eps)
        if best is None or found.misfit < best.misfit:
            best = found
        if best.certain:
            break
    return best
