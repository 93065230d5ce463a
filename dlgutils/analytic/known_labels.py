"""What a classifier's gradient says about the labels of a batch, in the terms of its equations."""

from typing import NamedTuple

import torch
from torch import Tensor

from dlgutils.analytic import label_counts
from dlgutils.analytic.mixing import System


class KnownLabels(NamedTuple):
    """What is known of the labels of the images of a system."""

    y: Tensor | None  # (images,), the labels
    delta_sum: Tensor | None  # (classes,), the sum of δ over the images; None: there is no bias
    least: Tensor | None  # (classes,), images of each class, at least; None: there is no bias


def known_labels(
    system: System, y: Tensor | None, delta_sum: Tensor | None, slack: float
) -> KnownLabels:
    """What the gradient says about labels.

    Args:
        system: the equations.
        y: (images,), the labels if they are given.
        delta_sum: (classes,), the sum of δ over the images; None: there is no bias.
        slack: how far below zero a sum of no negative terms may be, where rows have the length one.
    """
    if delta_sum is None:
        return KnownLabels(y, None, None)
    there = classes_there(system, slack)
    least = label_counts.lower_bounds(delta_sum)
    return KnownLabels(y, delta_sum, label_counts.sharpened(least, there, system.images))


def classes_there(system: System, slack: float) -> Tensor:
    """Classes that have images if no feature is negative, (classes,) bool; slack: as above."""
    features = system.basis if system.ones is None else system.basis[:, :-1]
    sign = 1 if system.factor > 0 else -1
    return label_counts.present(sign * system.target @ features, slack)


def to_try(
    system: System, y: Tensor | None, delta_sum: Tensor | None, slack: float, missing: float
) -> Tensor:
    """The classes that single images may have, those that show first of all: (n,).

    Args:
        system: the equations.
        y: (images,), the labels if they are given.
        delta_sum: (classes,), the sum of δ over the images; None: there is no bias.
        slack: as in `known_labels`.
        missing: how much of an image the sum of δ may lack.
    """
    if y is not None:
        return y.unique()
    there = classes_there(system, slack)
    if 0 < int(there.sum()) <= system.images:
        return there.nonzero()[:, 0]
    every = torch.arange(len(system.bias))
    if delta_sum is None:
        return every
    least = label_counts.lower_bounds(delta_sum + missing)
    return least.nonzero()[:, 0] if int(least.sum()) == system.images else every
