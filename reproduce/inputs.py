"""What several experiments begin with: sets of images, and initialisers of weights."""

import torch

from dlgutils import Batch, data, models

INITIALISERS = {"default": models.init_default, "wide": models.init_uniform}


def all_images(images: str) -> Batch:
    """All images of a set: both crops of the photographs, the fruits, or Fashion-MNIST.

    images: "photos", "fruits" or "fashion".
    """
    if images == "fruits":
        return data.fruits()
    if images == "fashion":
        return data.fashion()
    wide = data.photos()
    close = data.photos(crop=1)
    x = torch.cat([wide.x, close.x])
    y = torch.cat([wide.y, close.y])
    return Batch(x, y)


def one_image(batch: Batch, k: int) -> Batch:
    """Image k of a batch, as a batch of one."""
    one = slice(k, k + 1)
    return Batch(batch.x[one], batch.y[one])
