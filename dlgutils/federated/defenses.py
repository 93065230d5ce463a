"""What a client does to its gradient before it leaves: functions, gradient in, gradient out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Generator

from dlgutils.types import Shared, Tensors

Defense = Callable[[Tensors, Generator], Tensors]
"""A defence: (gradient, generator) -> a gradient of the same names and shapes."""


def noise(sigma: float) -> Defense:
    """The defence that adds N(0, σ²) to every number of a gradient.

    sigma: the standard deviation. Drawn on the CPU, in the order of the names. By itself it is not
    differential privacy, for which the gradient of each example is clipped first. Raises ValueError
    for a sigma that is negative or not finite.
    """
    if not 0 <= sigma < math.inf:
        raise ValueError(f"noise has a standard deviation, got {sigma}; 0 adds none")

    def add(gradient: Tensors, generator: Generator) -> Tensors:
        noisy = {}
        for name, g in gradient.items():
            noisy[name] = g + sigma * torch.randn(g.shape, generator=generator).to(g)
        return noisy

    return add


def defend(shared: Shared, defenses: Sequence[Defense], generator: Generator) -> Shared:
    """The round as the server sees it after these defences, applied in this order.

    shared: a round without them. defenses: such as `[noise(1e-3)]`. generator: on the CPU; every
    defence draws from it.
    """
    gradient = shared.gradient
    for defense in defenses:
        gradient = defense(gradient, generator)
    protocol = replace(shared.protocol, exact=False)
    return replace(shared, gradient=gradient, protocol=protocol)
