"""Batches, models and rounds that several tests need."""

from dataclasses import replace

import torch
from torch import nn

from dlgutils import Batch, Shared
from dlgutils.federated import defenses

THREE = Batch(
    torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double(),
    torch.tensor([0, 2, 3]),
)
"""Three random grey images of 8×8 pixels, in float64, of three of four classes."""


def user_model(*layers):
    """A model as a user writes it: an MLP with these layers before the classifier."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 5), nn.Sigmoid(), *layers, nn.Linear(5, 4)
    ).double()


def with_noise(shared: Shared, noise: float, *, only: str = "", seed: int = 0) -> Shared:
    """The round with Gaussian noise in every tensor of the gradient whose name contains `only`.

    Args:
        shared: the round.
        noise: the standard deviation.
        only: a part of the names; empty: all tensors.
        seed: draws the noise.
    """
    chosen = {name: g for name, g in shared.gradient.items() if only in name}
    noisy = defenses.noise(noise)(chosen, torch.Generator().manual_seed(seed))
    return replace(shared, gradient={**shared.gradient, **noisy})
