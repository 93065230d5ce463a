"""What several experiments begin with: sets of images, and initialisers of weights."""

from functools import cache
from pathlib import Path

import torch

from dlgutils import Batch, data, models

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


@cache
def _downloaded(images: str) -> Batch:
    return data.torchvision_set(images, DOWNLOADED)
