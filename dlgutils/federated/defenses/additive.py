"""Noise in every number of a gradient: Gaussian or Laplacian.

By itself neither is differential privacy, for which the gradient of each example is clipped first:
`federated.dp_sgd`. An attacker who knows the noise has nothing to undo. Of a guess whose gradient
is as far away as the noise is long, √n σ for n numbers, they can ask no more, and its size σ is the
weight of all they measure against all they know of photographs (`matching.weighing_noise`).
"""

import math
from functools import cache

import torch
from torch import Generator

from dlgutils.federated.defenses.checks import check_size, require_generator
from dlgutils.protocol import Defense, Effect
from dlgutils.types import Tensors


@cache
def noise(sigma: float) -> Defense:
    """The defence that adds N(0, σ²) to every number of a gradient.

    sigma: the standard deviation. Drawn on the CPU, in the order of the names. Raises ValueError
    for a sigma that is negative or not finite.
    """
    check_size("noise", sigma)

    def add(gradient: Tensors, generator: Generator | None) -> Tensors:
        generator = require_generator("noise", generator)
        noisy = {}
        for name, g in gradient.items():
            noisy[name] = g + sigma * torch.randn(g.shape, generator=generator).to(g)
        return noisy

    return Defense(f"noise, σ = {sigma:g}", add, effect=Effect.ADDS, sigma=float(sigma))


# The difference of two exponential variables of mean one has Laplace's distribution, of variance 2.
@cache
def laplace(scale: float) -> Defense:
    """The defence that adds Laplacian noise, of density exp(−|x| / scale) / (2 scale).

    scale: its standard deviation is √2 times as large. Drawn on the CPU, in the order of the names.
    Its extremes are larger than those of Gaussian noise: an attacker whose distance is a sum of
    absolute differences uses that. Raises ValueError for a scale that is negative or not finite.
    """
    check_size("Laplacian noise", scale)

    def add(gradient: Tensors, generator: Generator | None) -> Tensors:
        generator = require_generator("Laplacian noise", generator)
        noisy = {}
        for name, g in gradient.items():
            first = torch.empty(g.shape).exponential_(generator=generator)
            second = torch.empty(g.shape).exponential_(generator=generator)
            noisy[name] = g + scale * (first - second).to(g)
        return noisy

    name = f"Laplacian noise, scale {scale:g}"
    return Defense(name, add, effect=Effect.ADDS, sigma=math.sqrt(2) * scale)
