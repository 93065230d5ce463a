"""LeNets that have been trained on fruits, and the fruits that they have not seen."""

import copy
from functools import cache

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from dlgutils import data, metrics, models

SEEN = 1000
"""How many fruits the networks are trained on."""


@cache
def order() -> Tensor:
    """The fruits in one random order, (1393,): the first `SEEN` are for training."""
    generator = Generator().manual_seed(0)
    return torch.randperm(len(data.fruits().x), generator=generator)


def held_out() -> Tensor:
    """The fruits that no trained network has seen, (393,)."""
    return order()[SEEN:]


def trained(epochs: int, rate: float, seed: int) -> nn.Module:
    """A LeNet after some epochs of Adam with a step of 3e-3, in batches of 50: a copy.

    rate: of its dropout, in training too. seed: draws weights, batches and masks.
    """
    return copy.deepcopy(_train(epochs, rate, seed))


def accuracy(model: nn.Module) -> float:
    """The share of held-out fruits that a network gets right, without dropout."""
    fruits = data.fruits()
    rows = held_out()
    with torch.no_grad():
        z = model(fruits.x[rows].to(next(model.parameters())))
    return metrics.label_accuracy(z.argmax(1)[None], fruits.y[rows]).item()


@cache
def _train(epochs: int, rate: float, seed: int) -> nn.Module:
    fruits = data.fruits()
    generator = Generator().manual_seed(seed)
    model = models.init_default(models.lenet(classes=14, dropout=rate), generator)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        shuffled = torch.randperm(SEEN, generator=generator)
        for rows in order()[:SEEN][shuffled].split(50):
            features = model.body(fruits.x[rows]).flatten(1)
            kept = torch.rand(features.shape, generator=generator) >= rate
            z = model.fc(features * kept / (1 - rate))
            adam.zero_grad()
            cross_entropy(z, fruits.y[rows]).backward()
            adam.step()
    return model
