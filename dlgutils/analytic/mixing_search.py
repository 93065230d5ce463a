"""The search for the images behind a classifier's gradient, all together.

All images at once are a descent from a start, and good starts are rare where there are many images.
`images_in_turn` then looks for those that are determined alone, and comes back for the rest.
"""

import itertools
from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from dlgutils.analytic import label_counts, mixing, mixing_starts
from dlgutils.analytic.known_labels import KnownLabels
from dlgutils.analytic.mixing import Point, System
from dlgutils.analytic.mixing_solution import POLISHES, Found, polish

_MOST_STARTS = 32  # at once: where one is enough, the others are in vain
_FEWEST_STARTS = 8
_MEMORY = 3e5  # entries of all normal matrices at once: what a cache holds
_WORK = 3e8  # of all chunks of a search, in multiplications of one step: some seconds of one core
_FIRST_STEPS = 5  # of every start, and as many again of the quarter that goes on
_NEAR = 1e-2  # the residual of what may be an answer, where rows have the length one
_SLACK = 3.0  # of an answer's residuals before it is polished, in units of their rounding


def search_together(system: System, labels: KnownLabels, eps: float, *, attempts: int) -> Found:
    """The images that fit the equations of all of them best.

    Args:
        system: the equations.
        labels: what is known of them; those that are not given are sought too.
        eps: the relative error of the gradient.
        attempts: chunks of starts, at most; the first certain answer ends the search.
    """
    best = None
    for point, onehot in itertools.islice(descents(system, labels, eps, keep=1), attempts):
        turns = POLISHES if float(point.loss) < _NEAR**2 else 0
        found = polish(system, point.m, onehot, eps, turns)
        if best is None or not found.misfit >= best.misfit:
            best = found
        if best.certain:
            break
    return best


def descents(
    system: System, labels: KnownLabels, eps: float, *, keep: int
) -> Iterator[tuple[Point, Tensor]]:
    """Where descents from chunks of starts end, chunk after chunk: the best, and their labels.

    Args:
        system: the equations.
        labels: what is known of them; those that are not given are drawn.
        eps: the relative error of the gradient; a chunk ends at the first that is an answer to it.
        keep: how many of each chunk are returned, at most.
    """
    floor = (_SLACK * eps) ** 2 * system.target.numel()
    for m, onehot in _starts(system, labels):
        for _ in range(2):
            point = mixing.descend(system, m, onehot, steps=_FIRST_STEPS, floor=floor)
            point, onehot = mixing.prune(point, onehot, max(keep, len(m) // 4))
            m = point.m
        point = mixing.descend(system, m, onehot, floor=floor)
        yield mixing.prune(point, onehot, keep)


def affordable(images: int, attempts: int) -> int:
    """So many chunks of starts, or as many as take some seconds where there are many images."""
    work = _starts_at_once(images) * images**6  # of solving the normal equations
    return max(1, min(attempts, int(_WORK / work)))


def _starts_at_once(images: int) -> int:
    return min(max(int(_MEMORY / images**4), _FEWEST_STARTS), _MOST_STARTS)


def _starts(system: System, labels: KnownLabels) -> Iterator[tuple[Tensor, Tensor]]:
    """Starts and the labels that they assume, chunk after chunk, without end."""
    classes = len(system.bias)
    n = _starts_at_once(system.images)
    generator = Generator().manual_seed(0)
    while True:
        y = _draw(system, labels, n, generator) if labels.y is None else labels.y.expand(n, -1)
        onehot = mixing.labels_as_onehot(y.to(system.bias.device), classes)
        delta_sum = labels.delta_sum
        equal = mixing_starts.of_equal_probabilities(system, onehot[:1], delta_sum, generator)
        other = mixing_starts.of_logits(system, onehot[1:], delta_sum, generator)
        yield torch.cat([equal, other]), onehot


def _draw(system: System, labels: KnownLabels, n: int, generator: Generator) -> Tensor:
    """Labels that the bias gradient allows, (n, images); the first as of an untrained network."""
    counts = label_counts.of_untrained(labels.delta_sum, system.bias, system.images).cpu()
    y = label_counts.draw(labels.least, system.images, n, generator).clone()
    y[0] = torch.arange(len(counts)).repeat_interleave(counts)[: system.images]
    return y
