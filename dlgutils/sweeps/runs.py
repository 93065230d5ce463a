"""The runs of `sweep`: one honest round for each cell, and the seed of the attacker."""

from typing import NamedTuple

import torch
from torch import Generator

from dlgutils import data
from dlgutils.federated import Round, honest
from dlgutils.sweeps.cells import Cell
from dlgutils.types import Batch


class Run(NamedTuple):
    """What happens in one cell before anyone attacks."""

    round: Round
    seed: int  # of the attacker


def draw_run(cell: Cell, device: str) -> Run:
    """The run of a cell: its seed draws the weights, then the mask, then the attacker's seed.

    Raises ValueError for a device that is not there.
    """
    secret = _to(image_of(cell["image"]), device)
    generator = Generator().manual_seed(int(cell["seed"]))
    x_shape = tuple(secret.x.shape[1:])
    model = cell["model"](x_shape=x_shape, dropout=float(cell["rate"]))
    drawn = honest(model.to(secret.x), secret, generator, init=cell["init"])
    seed = int(torch.randint(2**62, (), generator=generator))
    return Run(drawn, seed)


def image_of(image: str | Batch) -> Batch:
    """The batch of one image that stands on an axis, or that its name in `data.photos` stands for.

    Raises ValueError for other names, other batches, and anything else.
    """
    batch = data.photos(image) if isinstance(image, str) else image
    is_batch = isinstance(batch, Batch)
    if not is_batch or len(batch.x) != 1:
        got = f"Batch of {len(batch.x)}" if is_batch else type(batch).__name__
        raise ValueError(
            "an image of a sweep is a name of data.photos or a Batch of one image, "
            f"got a {got}; give {{name: Batch(x[k : k + 1], y[k : k + 1])}}"
        )
    return batch


def _to(secret: Batch, device: str) -> Batch:
    try:
        return Batch(secret.x.to(device), secret.y.to(device))
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"no device {device!r} here ({error}); use device='cpu', or workers that have one"
        ) from error
