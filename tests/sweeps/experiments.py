"""Small experiments that the tests of sweeps share."""

from functools import partial

import torch

from dlgutils import models
from dlgutils.sweeps import sweep
from dlgutils.types import Batch

GRID = {"seed": range(3), "rate": [0.0, 0.5]}
TINY = {"tiny": partial(models.lenet, classes=4)}


def images(count=2):
    """Random 8×8 images by name, in float64."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, 1, 1, 8, 8, generator=generator, dtype=torch.float64)
    named = {}
    for k in range(count):
        named[f"noise {k}"] = Batch(x[k], torch.tensor([k]))
    return named


def small(out, *, steps=5, chunk=64, **axes):
    """A sweep of tiny rounds."""
    grid = {"model": TINY, "seed": range(2), "image": images(), **axes}
    return sweep(grid, out, steps=steps, chunk=chunk)


def sums(cells):
    """A quick experiment with a number that has no short decimal."""
    rows = []
    for cell in cells:
        seed, rate = cell["seed"], cell["rate"]
        rows.append({"sum": seed + rate, "third": (seed + 1) / 3})
    return rows


class Counted:
    """An experiment that counts its calls, and may raise at some of them."""

    name = "counted"

    def __init__(self, fails=lambda call, cells: None):
        self.calls = 0
        self.fails = fails

    def __call__(self, cells):
        self.calls += 1
        error = self.fails(self.calls, cells)
        if error:
            raise error
        return sums(cells)
