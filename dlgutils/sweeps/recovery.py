"""How well images are recovered: one image attacked in every combination of the axes."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import pandas as pd
import torch

from dlgutils import attacks, data, metrics, models
from dlgutils.matching.engine import invert
from dlgutils.sweeps.cells import Axis, Cell, Row, name_axes
from dlgutils.sweeps.run_grid import run_grid
from dlgutils.sweeps.runs import Run, draw_run, image_of
from dlgutils.types import Attack

AXES: Mapping[str, Axis] = {
    "image": data.class_names("photos"),
    "seed": [0],
    "rate": [0.0],
    "attack": [attacks.idlg],
    "init": [models.init_default],
    "model": [models.lenet],
}
"""The axes of `sweep`, and the values of those that are left out."""

_ONE_AT_A_TIME = Lock()  # layers draw their weights from the one global generator of their process


def sweep(
    grid: Mapping[str, Axis],
    out: str | Path,
    *,
    steps: int = 300,
    device: str = "cpu",
    chunk: int = 64,
    retries: int = 1,
    progress: bool = False,
) -> pd.DataFrame:
    """The table of one image attacked in every combination of the axes: a row per run.

    The columns after the axes: evaluations until the run stopped, at most `steps`; loss, the lowest
    matching loss; mse against the truth; label_right. All runs of a kind in a chunk go through one
    `invert`: put the axes that it can take together, image, seed and init, last, where they vary
    fastest. The dtype of an attack is that of its image.

    Args:
        grid: {axis: values}, each axis a list of values or {name in the table: value}. The axes,
            with what they are if left out in brackets: image, names of `data.photos` or batches of
            one image (all twelve photographs); seed, of the weights, of the client's mask and of
            the attacker (0); rate, of dropout (0.0); attack (`attacks.idlg`); init
            (`models.init_default`); model, called with x_shape and dropout (`models.lenet`).
        out: the folder of this sweep, as in `run_grid`, whose errors are raised here too.
        steps: evaluations of the matching loss and its slope.
        device: of the attacks, on the machine of the worker.
        chunk: how many runs are computed and kept at a time.
        retries: how often a chunk that failed is tried again.
        progress: show a tqdm bar, one tick a chunk.
    """
    unknown = sorted(grid.keys() - AXES.keys())
    if unknown:
        raise ValueError(
            f"no axis is called {', '.join(unknown)}; there are {', '.join(AXES)} "
            "(run_grid takes any)"
        )
    defaults = {axis: values for axis, values in AXES.items() if axis not in grid}
    axes = name_axes({**grid, **defaults})
    for image in axes["image"].values():
        image_of(image)
    trial = partial(recover, steps=steps, device=device)
    return run_grid(trial, axes, out, chunk=chunk, retries=retries, progress=progress)


def recover(cells: Sequence[Cell], *, steps: int, device: str) -> list[Row]:
    """The trial of `sweep`: a row for each cell; cells of one kind go through one `invert`."""
    rows: dict[int, Row] = {}
    with _ONE_AT_A_TIME:
        runs = [draw_run(cell, device) for cell in cells]
        for kind in _group(cells, runs):
            attack = cells[kind[0]]["attack"]
            measured = _measure([runs[k] for k in kind], attack, steps)
            rows.update(zip(kind, measured, strict=True))
    return [rows[k] for k in range(len(cells))]


def _group(cells: Sequence[Cell], runs: Sequence[Run]) -> list[list[int]]:
    """The numbers of the cells that one `invert` can take together."""
    groups: dict[Any, list[int]] = {}
    for k, cell in enumerate(cells):
        x = runs[k].round.secret.x
        kind = cell["attack"], cell["model"], cell["rate"], x.shape, x.dtype
        groups.setdefault(kind, []).append(k)
    return list(groups.values())


def _measure(runs: Sequence[Run], attack: Attack, steps: int) -> list[Row]:
    """Attack runs of one kind, and compare what comes back with the truth."""
    model = runs[0].round.model
    shared = [run.round.shared for run in runs]
    seeds = [run.seed for run in runs]
    result = invert(model, shared, attack, seeds=seeds, steps=steps, frames=1)
    if not result.complete:
        raise KeyboardInterrupt("Ctrl-C during a chunk, which is not kept; the same call goes on")
    x = torch.stack([run.round.secret.x for run in runs])
    y = torch.stack([run.round.secret.y for run in runs])
    evaluations = (~result.loss.isnan()).sum(1)
    loss = result.best_loss
    mse = metrics.mse(result.x, x)[:, 0]
    label_right = (result.y == y)[:, 0]
    rows = []
    for k in range(len(runs)):
        row = {
            "evaluations": evaluations[k].item(),
            "loss": loss[k].item(),
            "mse": mse[k].item(),
            "label_right": label_right[k].item(),
        }
        rows.append(row)
    return rows
