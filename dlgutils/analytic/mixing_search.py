"""The search for the images behind a classifier's gradient: together, and one by one.

All images at once are a descent from a start, and good starts are rare where there are many images.
One image alone has equations of its own (`single_images`); once it is found it is subtracted from
the gradient, and the rest is a smaller batch.
"""

import itertools
from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from dlgutils.analytic import label_counts, mixing, mixing_starts, single_images
from dlgutils.analytic.classifier import Classifier
from dlgutils.analytic.mixing import System
from dlgutils.analytic.mixing_solution import Found, near, polish, row_scale_of, system_of

_MOST_STARTS = 128  # at once
_MEMORY = 4e6  # entries of all normal matrices at once
_FIRST_ATTEMPTS = 2  # at all images together
_ATTEMPTS = 6  # at those that are left
_FIRST_STEPS = 15  # of every start; a quarter of them go on


def search(
    classifier: Classifier, images: int, factor: float, y: Tensor | None, eps: float
) -> Found:
    """The batch that fits the gradient best; it stops at the first that is certain.

    All images together first, from a few starts; then one by one, each subtracted from the gradient
    once it is found, and what is left together again.

    Args:
        classifier: weights and gradient, in float64.
        images: how many there are in the gradient.
        factor: by which the loss multiplies δ: one over the batch where it is a mean.
        y: (images,), the labels; None: they are sought too.
        eps: the relative error of the gradient.
    """
    row_scale = row_scale_of(classifier, eps)
    system = system_of(classifier, images, factor, row_scale)
    delta_sum = classifier.delta_sum(factor)
    found = search_together(system, delta_sum, y, eps, attempts=_FIRST_ATTEMPTS)
    if found.certain:
        return found
    inputs, labels = peel(classifier, images, factor, y, row_scale)
    missing = images - len(inputs)
    if missing:
        rest = subtract(classifier, inputs, labels, factor)
        small = system_of(rest, missing, factor, row_scale)
        left = None if y is None else _without(y, labels)
        others = search_together(small, rest.delta_sum(factor), left, eps, attempts=_ATTEMPTS)
        inputs = torch.cat([inputs, others.inputs])
        labels = torch.cat([labels, others.y])
    again = near(classifier, inputs, labels, factor, eps)
    return again if again.misfit < found.misfit else found


def possible(classifier: Classifier, images: int, factor: float) -> bool:
    """Whether so many images can have this bias gradient if the loss multiplies δ by the factor."""
    delta_sum = classifier.delta_sum(factor)
    return delta_sum is None or int(label_counts.lower_bounds(delta_sum).sum()) <= images


def peel(
    classifier: Classifier, images: int, factor: float, y: Tensor | None, row_scale: Tensor
) -> tuple[Tensor, Tensor]:
    """The images that can be found one at a time: inputs, (n, features + 1), and labels, (n,).

    Whatever is found is subtracted from the gradient, and the rest is a smaller batch.

    Args:
        classifier: weights and gradient.
        images: how many there are in the gradient.
        factor: by which the loss multiplies δ.
        y: (images,), the labels; None: all classes are tried.
        row_scale: what the rows of the gradient are multiplied by, (classes,).
    """
    generator = Generator().manual_seed(0)
    tried = torch.arange(len(classifier.weights)) if y is None else y.unique()
    inputs = classifier.gradient[:0]
    labels = torch.empty(0, dtype=torch.int64, device=inputs.device)
    while len(labels) < images:
        rest = subtract(classifier, inputs, labels, factor)
        system = system_of(rest, images - len(labels), factor, row_scale)
        v, new = single_images.find(system, tried, generator)
        if not len(new):
            break
        inputs = torch.cat([inputs, v @ system.basis])
        labels = torch.cat([labels, new])
    return inputs, labels


def subtract(classifier: Classifier, inputs: Tensor, y: Tensor, factor: float) -> Classifier:
    """The classifier with the gradient of the other images.

    Args:
        classifier: weights and gradient.
        inputs: of some images, (n, features + 1).
        y: their labels, (n,).
        factor: by which the loss multiplies δ.
    """
    difference = (inputs @ classifier.weights.T).softmax(1)
    difference = difference - mixing.labels_as_onehot(y, difference.shape[1])
    gradient = classifier.gradient - factor * difference.T @ inputs
    return classifier._replace(gradient=gradient)


def search_together(
    system: System, delta_sum: Tensor | None, y: Tensor | None, eps: float, *, attempts: int
) -> Found:
    """The images that fit the equations of all of them best.

    Args:
        system: the equations.
        delta_sum: (classes,), the sum of δ over the images; None: there is no bias.
        y: (images,), the labels; None: they are sought too.
        eps: the relative error of the gradient.
        attempts: chunks of starts, at most; the first certain answer ends the search.
    """
    best = None
    for m, onehot in itertools.islice(_starts(system, delta_sum, y), attempts):
        point = mixing.descend(system, m, onehot, steps=_FIRST_STEPS)
        m, onehot = mixing.prune(point, onehot, max(1, len(m) // 4))
        point = mixing.descend(system, m, onehot)
        m, onehot = mixing.prune(point, onehot, 1)
        found = polish(system, m, onehot, eps)
        if best is None or not found.misfit >= best.misfit:
            best = found
        if best.certain:
            break
    return best


def _starts(
    system: System, delta_sum: Tensor | None, y: Tensor | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Starts and the labels that they assume, chunk after chunk, without end."""
    classes = len(system.bias)
    n = int(_MEMORY / system.images**4)
    n = min(max(n, 2), _MOST_STARTS)
    generator = Generator().manual_seed(0)
    while True:
        labels = _draw_labels(system, delta_sum, n, generator) if y is None else y.expand(n, -1)
        onehot = mixing.labels_as_onehot(labels.to(system.bias.device), classes)
        equal = mixing_starts.of_equal_probabilities(system, onehot[:1], delta_sum, generator)
        other = mixing_starts.of_logits(system, onehot[1:], delta_sum, generator)
        yield torch.cat([equal, other]), onehot


def _draw_labels(system: System, delta_sum: Tensor, n: int, generator: Generator) -> Tensor:
    """Labels that the bias gradient allows, (n, images); the first as of an untrained network."""
    counts = label_counts.of_untrained(delta_sum, system.bias, system.images).cpu()
    labels = label_counts.draw(delta_sum, system.images, n, generator).clone()
    labels[0] = torch.arange(len(counts)).repeat_interleave(counts)[: system.images]
    return labels


def _without(y: Tensor, found: Tensor) -> Tensor:
    """The labels y less those that were found, each once."""
    left = y.tolist()
    for label in found.tolist():
        if label in left:
            left.remove(label)
    return torch.tensor(left, dtype=torch.int64, device=y.device)
