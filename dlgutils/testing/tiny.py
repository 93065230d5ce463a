"""The round on which the contract tries attacks, and most tests of the library with it."""

import torch
from torch import Generator

from dlgutils import models
from dlgutils.federated import Round, honest
from dlgutils.types import Batch

CLASSES = 4
FEATURES = 48  # before the classifier


def tiny_round(
    seed: int = 0, *, batch: int = 1, dropout: float = 0.5, dtype: torch.dtype = torch.float64
) -> Round:
    """One honest round of a small LeNet on noise: 8×8 grey images, four classes.

    Args:
        seed: draws weights, images, labels and masks.
        batch: the number of images.
        dropout: the rate of the layer before the classifier.
        dtype: of the model and the images.
    """
    generator = Generator().manual_seed(seed)
    model = models.lenet((1, 8, 8), CLASSES, dropout=dropout).to(dtype)
    model = models.init_default(model, generator)
    x = torch.rand(batch, 1, 8, 8, generator=generator, dtype=dtype)
    y = torch.randint(CLASSES, (batch,), generator=generator)
    return honest(model, Batch(x, y), generator, init=None)
