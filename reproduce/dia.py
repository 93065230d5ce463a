"""DIA with its published budget of 20 000 evaluations, at a dropout rate of 0.5.

Two versions: the recipe of this library, and one whose steps are those of the public code of
Scheliga, Mäder & Seeland 2023 (arXiv:2208.06163): pixels are normalised and start as N(0, 1) noise,
signs are taken of the pixels' slope only, and the mask's deviation is that of the mask before it is
scaled. Both wait 800 evaluations before a smaller step. The public code also stops below a loss of
1e-5, or after 4 000 evaluations without a better one; here all evaluations are made.

`python -m reproduce.dia [cpu|cuda] [processes] [images of each set] [version ...]` prints the table
and writes dia.csv. All 160 runs take about 80 minutes of one processor; finished chunks are kept in
_build/dia. The committed table is that of `python -m reproduce.dia cpu 2 5 "public code"`.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Generator, Tensor, nn

import dlgutils as du
from dlgutils import attacks, metrics
from dlgutils.matching import objectives, optimizers, starts
from dlgutils.types import Guess, Optimizer, Shared, Transform
from reproduce.dropout_cells import AXES, COUNT, check_complete, honest_round, prepare, scores
from reproduce.dropout_run import run
from reproduce.tables import COMMITTED

FOLDER = Path("_build/dia")
TABLE = COMMITTED / "dia.csv"
STEPS = 20_000
RATE = 0.5
MEAN, STD = 0.5, 0.25
"""Of the normalised pixels: about those of CIFAR-10, the same for all channels."""
PIXELS = 3 * 32 * 32
SETTING = ["images", "init", "version"]


def normalised(x: Tensor) -> Tensor:
    """Images in [0, 1] in the units of the public code."""
    return (x - MEAN) / STD


def noise_and_masks(model: nn.Module, shared: Shared, generator: Generator | None) -> Guess:
    """Normalised pixels of N(0, 1) noise, and random masks of zeros and ones."""
    guess = starts.uniform_with_masks(model, shared, generator)
    x = MEAN + STD * torch.randn(shared.x_shape, generator=generator)
    return guess._replace(x=x.to(shared.like))


def smooth_with_rates(guess: Guess) -> Tensor:
    """Total variation of normalised pixels times 1e-5, and the masks' deviation times 1e-4."""
    deviation = sum((1 - RATE) * (mask.mean() - 1).abs() for mask in guess.masks.values())
    return 1e-5 * objectives.total_variation(guess.x / STD) + 1e-4 * deviation


def signs_of_pixels() -> Optimizer:
    """Adam with signs of the pixels' slope, which come first in z, and a box for each unknown."""
    adam = optimizers.adam(lr=0.1, patience=800)
    low, high = normalised(torch.tensor([0.0, 1.0])).tolist()

    def update(state: Any, value: Tensor, slope: Tensor) -> Any:
        signs = slope[:, :PIXELS].sign()
        state = adam.update(state, value, torch.cat([signs, slope[:, PIXELS:]], 1))
        pixels = state.trial[:, :PIXELS].clamp(low, high)
        masks = state.trial[:, PIXELS:].clamp(0, 1)
        return state._replace(trial=torch.cat([pixels, masks], 1))

    return Optimizer("adam with signs of pixels", adam.init, update)


VERSIONS = {
    "library": attacks.dia,
    "public code": replace(
        attacks.dia,
        start=noise_and_masks,
        transform=Transform("normalised", normalised, lambda z: MEAN + STD * z),
        prior=smooth_with_rates,
        optimizer=signs_of_pixels(),
    ),
}


def trial(cells: Sequence[Mapping[str, Any]], device: str) -> list[dict[str, Any]]:
    """A row for each cell; those of one version go through one `invert`."""
    prepare(device)
    rows: dict[int, dict[str, Any]] = {}
    for version, attack in VERSIONS.items():
        kind = [k for k, cell in enumerate(cells) if cell["version"] == version]
        if kind:
            found = measured([cells[k] for k in kind], attack, device)
            rows.update(zip(kind, found, strict=True))
    return [rows[k] for k in range(len(cells))]


def measured(
    cells: Sequence[Mapping[str, Any]], attack: du.Attack, device: str
) -> list[dict[str, Any]]:
    """What one version did in these cells, a row for each; cells: of one rate."""
    rounds = [honest_round({**cell, "rate": RATE}, device) for cell in cells]
    shared = [one.shared for one in rounds]
    seeds = [cell["image"] for cell in cells]
    result = du.invert(rounds[0].model, shared, attack, seeds=seeds, steps=STEPS, frames=20)
    check_complete(result)
    rows = []
    for k, (cell, one) in enumerate(zip(cells, rounds, strict=True)):
        steps = result.frame_steps.tolist()
        errors = metrics.mse(result.frames[:, k, 0].clamp(0, 1), one.secret.x[0]).tolist()
        film = {f"mse after {step}": e for step, e in zip(steps, errors, strict=True)}
        rows.append({**scores(result.x[k], cell), "loss": result.best_loss[k].item(), **film})
    return rows


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each setting: counts, and medians over its images."""
    rows = []
    for setting, runs in table.groupby(SETTING, sort=False):
        film = runs.filter(like="mse after").median()
        row = {
            "evaluations": STEPS,
            "runs": len(runs),
            "recognisable": int((runs["mse"] < 1e-2).sum()),
            "identified": int(runs["identified"].sum()),
            "mse": f"{runs['mse'].median():.4f}",
            "lowest_mse": f"{runs['mse'].min():.4f}",
            "ssim": f"{runs['ssim'].median():.3f}",
            "loss": f"{runs['loss'].median():.2e}",
        }
        halves = {column.replace(" ", "_"): f"{value:.4f}" for column, value in film.items()}
        rows.append({**dict(zip(SETTING, setting, strict=True)), **row, **halves})
    return pd.DataFrame(rows)


def main(device: str = "cpu", processes: int = 1, images: int = COUNT, *versions: str) -> None:
    """Run what is missing, print the table and write it.

    Args:
        device: "cpu" or "cuda".
        processes: how many of them.
        images: of each set.
        versions: those to run, all if none is named; the table holds no others.
    """
    grid = {"version": list(versions or VERSIONS), **AXES, "image": range(images)}
    folder = FOLDER / device / f"{images} images, {', '.join(grid['version'])}"
    table = summary(run(partial(trial, device=device), grid, folder, device, processes))
    TABLE.parent.mkdir(exist_ok=True)
    table.to_csv(TABLE, index=False)
    print(table.loc[:, :"loss"].to_string(index=False))


if __name__ == "__main__":
    given = [*sys.argv[1:], *("cpu", "1", COUNT)[len(sys.argv) - 1 :]]
    device, processes, images, *versions = given
    main(device, int(processes), int(images), *versions)
