"""What several experiments begin with: images, initialisers of weights, what attackers know."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import nn

from dlgutils import Attack, Batch, data, models
from dlgutils.types import Guess, Shared

DOWNLOADED = Path("_build/data")
"""Where the sets of torchvision lie."""

INITIALISERS = {"default": models.init_default, "wide": models.init_uniform}


def all_images(images: str) -> Batch:
    """All images of a set: both crops of the photographs, the fruits, Fashion-MNIST, or others.

    images: "photos", "fruits", "fashion", or a name that `data.torchvision_set` knows: its test
    images, which are downloaded into DOWNLOADED if they are not there.
    """
    if images == "fruits":
        return data.fruits()
    if images == "fashion":
        return data.fashion()
    if images != "photos":
        return _downloaded(images)
    wide = data.photos()
    close = data.photos(crop=1)
    x = torch.cat([wide.x, close.x])
    y = torch.cat([wide.y, close.y])
    return Batch(x, y)


def one_image(batch: Batch, k: int) -> Batch:
    """Image k of a batch, as a batch of one."""
    one = slice(k, k + 1)
    return Batch(batch.x[one], batch.y[one])


def count_classes(images: str) -> int:
    """How many classes a set has; `images` as in `all_images`."""
    return int(all_images(images).y.max()) + 1


def told(attack: Attack, rounds: Sequence[Shared], guesses: Sequence[Guess]) -> Attack:
    """The attack by someone who knows so much of each round, and infers nothing.

    A round is known by the memory of its gradient, so its scale must be 1.
    """
    known = {id(shared.like): guess for shared, guess in zip(rounds, guesses, strict=True)}

    def infer(_: nn.Module, shared: Shared) -> Guess:
        return known[id(shared.like)]

    return replace(attack, infer=infer)


@cache
def _downloaded(images: str) -> Batch:
    return data.torchvision_set(images, DOWNLOADED)
