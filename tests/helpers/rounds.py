"""Batches, models and rounds that several tests need."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from dlgutils import Batch, Shared, models, share
from dlgutils.federated import defenses, honest

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


def confident_round() -> tuple[nn.Module, Shared, Batch, Tensor]:
    """A round of four images, of the first of which the model is so sure that it leaves no trace.

    The model has one hidden layer. With it and the round come the batch, and what entered the
    classifier, (4, 96).
    """
    gen = torch.Generator().manual_seed(0)
    y = torch.randint(12, (4,), generator=gen)
    x = torch.rand(4, 1, 6, 6, generator=gen)
    batch = Batch(x, y)
    model = models.mlp((1, 6, 6), (96,), 12, activation=nn.Sigmoid)
    model = honest(model, batch, gen).model
    hidden = model.body[:2](x.flatten(1)).detach()
    others, _ = torch.linalg.qr(hidden[1:].T, mode="reduced")
    alone = hidden[0] - others @ (others.T @ hidden[0])
    with torch.no_grad():
        model.fc.weight[y[0]] += 60 * alone / (alone @ hidden[0])
    return model, share(model, batch), batch, hidden
