"""Rounds made worse, for tests of what can still be read off them."""

from dataclasses import replace

import torch

from dlgutils import Shared


def with_noise(shared: Shared, noise: float, *, only: str = "", seed: int = 0) -> Shared:
    """The round with Gaussian noise in every tensor of the gradient whose name contains `only`.

    Args:
        shared: the round.
        noise: the standard deviation.
        only: a part of the names; empty: all tensors.
        seed: draws the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    noisy = dict(shared.gradient)
    for name, g in shared.gradient.items():
        if only in name:
            noisy[name] = g + noise * torch.randn(g.shape, generator=generator).to(g)
    return replace(shared, gradient=noisy)
