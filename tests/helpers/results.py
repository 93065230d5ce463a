"""Results, made by hand or by a short attack, for tests of what becomes of a result."""

import torch

from dlgutils import Result, attacks, data, invert, models
from dlgutils.federated import honest


def result(loss: list[list[float]]) -> Result:
    """A result with these losses, whose run k holds an image of value k."""
    loss = torch.tensor(loss)
    runs = len(loss)
    numbers = torch.arange(float(runs))[:, None, None, None, None]
    x = numbers.expand(-1, 1, 1, 2, 2)
    return Result(
        x=x,
        y=torch.zeros(runs, 1, dtype=torch.long),
        loss=loss,
        frames=x[None],
        frame_steps=torch.tensor([0]),
        attack="test",
        complete=False,
    )


def attack_on_the_cat(*, runs: int = 1, steps: int, frames: int) -> Result:
    """What iDLG finds of the photograph of the cat, the same in all runs."""
    generator = torch.Generator().manual_seed(0)
    model, _, shared, _ = honest(models.lenet(), data.photos("cat"), generator)
    return invert(model, [shared] * runs, attacks.idlg, steps=steps, frames=frames)
