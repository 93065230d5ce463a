"""The search for the images behind a classifier's gradient, all together.

All images at once are a descent from a start, and good starts are rare where there are many images.
`images_in_turn` then looks for those that are determined alone, and comes back for the rest.
"""

import itertools
from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from dlgutils.analytic import label_counts, mixing, mixing_starts
from dlgutils.analytic.mixing import System
from dlgutils.analytic.mixing_solution import Found, polish

_MOST_STARTS = 128  # at once
_MEMORY = 4e6  # entries of all normal matrices at once
_WORK = 3e8  # of all chunks of a search, in multiplications of one step: some seconds of one core
_FIRST_STEPS = 15  # of every start; a quarter of them go on


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
    for m, onehot in itertools.islice(descents(system, delta_sum, y, keep=1), attempts):
        found = polish(system, m, onehot, eps)
        if best is None or not found.misfit >= best.misfit:
            best = found
        if best.certain:
            break
    return best


def descents(
    system: System, delta_sum: Tensor | None, y: Tensor | None, *, keep: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Where descents from chunks of starts end, chunk after chunk: M and the labels of the best.

    Args:
        system: the equations.
        delta_sum: (classes,), the sum of δ over the images; None: there is no bias.
        y: (images,), the labels; None: they are drawn.
        keep: how many of each chunk are returned, at most.
    """
    for m, onehot in _starts(system, delta_sum, y):
        point = mixing.descend(system, m, onehot, steps=_FIRST_STEPS)
        m, onehot = mixing.prune(point, onehot, max(1, len(m) // 4))
        point = mixing.descend(system, m, onehot)
        yield mixing.prune(point, onehot, keep)


def affordable(images: int, attempts: int) -> int:
    """So many chunks of starts, or as many as take some seconds where there are many images."""
    work = _starts_at_once(images) * images**6  # of solving the normal equations
    return max(1, min(attempts, int(_WORK / work)))


def _starts_at_once(images: int) -> int:
    return min(max(int(_MEMORY / images**4), 2), _MOST_STARTS)


def _starts(
    system: System, delta_sum: Tensor | None, y: Tensor | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Starts and the labels that they assume, chunk after chunk, without end."""
    classes = len(system.bias)
    n = _starts_at_once(system.images)
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
