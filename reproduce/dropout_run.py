"""The dropout run, `make dropout-run`: six attackers, 5 800 evaluations each, in two hours.

Zheng (2021, arXiv:2108.11106) reports that with a dropout rate of 0.5 before the classifier the
image does not reach a small RMSE after 5 800 epochs of the attack. Here six attackers have 5 800
evaluations each at that rate, and a tenth of them at five others, without dropout among them: 20
photographs, each on a fresh LeNet of either initialisation. Finished chunks are kept in
_build/dropout_run, so an interrupted run goes on; the curves are written to dropout_run.csv.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Generator, Tensor

import dlgutils as du
from dlgutils import attacks, federated, metrics, models, sweeps
from reproduce.inputs import INITIALISERS, all_images, one_image
from reproduce.tables import COMMITTED

IMAGES = range(20)
FULL = 5800
STEPS = {0.5: FULL, **dict.fromkeys((0.0, 0.1, 0.3, 0.7, 0.9), FULL // 10)}
NAIVE = {
    "eval mode": attacks.idlg,
    "eval mode, reference loop": attacks.idlg_reference,
    "fresh masks": attacks.idlg_fresh_masks,
    "eval mode, cosine + TV + box": attacks.inverting,
}
ATTACKERS = {**NAIVE, "DIA": attacks.dia, "mask reading": attacks.mask_reading}
RESTARTS = {"eval mode, cosine + TV + box": 2}
PARTS = (
    ((0.5,), ATTACKERS),
    ((0.0,), NAIVE),
    ((0.9, 0.1, 0.3, 0.7), ATTACKERS),
)
"""Rates and attackers, in the order in which they run."""
FOLDER = Path("_build/dropout_run")
TABLE = COMMITTED / "dropout_run.csv"
SETTING = ["init", "rate", "attacker"]
QUANTILES = {"lowest": 0, "quarter": 0.25, "median": 0.5, "three_quarters": 0.75, "highest": 1}


def trial(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """All cells of one attacker and one rate through one `invert`: the RMSE of every frame.

    An attacker with several restarts keeps the one of the lowest matching loss.
    """
    torch.set_num_threads(1)
    name, rate = cells[0]["attacker"], cells[0]["rate"]
    restarts = RESTARTS.get(name, 1)
    rounds = [honest_round(cell["image"], rate, cell["init"]) for cell in cells]
    shared, seeds = [], []
    for cell, one in zip(cells, rounds, strict=True):
        for restart in range(restarts):
            shared.append(one.shared)
            seeds.append(1000 * restart + cell["image"])
    result = du.invert(
        rounds[0].model, shared, ATTACKERS[name], seeds=seeds, steps=STEPS[rate], progress=True
    )
    best = result.best_loss.view(-1, restarts).argmin(1).tolist()
    rows = []
    for k, one in enumerate(rounds):
        chosen = result.run(k * restarts + best[k])
        rows.append(row(chosen, one.secret.x))
    return rows


def honest_round(image: int, rate: float, init: str) -> federated.Round:
    """The round of one photograph, whose number is the seed."""
    generator = Generator().manual_seed(image)
    model = models.lenet(dropout=rate)
    secret = one_image(all_images("photos"), image)
    return federated.honest(model, secret, generator, init=INITIALISERS[init])


def row(result: du.Result, truth: Tensor) -> dict[str, Any]:
    """What one run did: its RMSE at every frame, and the MSE of its image clipped to [0, 1]."""
    steps = result.frame_steps.tolist()
    rmse = metrics.rmse(result.frames[:, 0], truth)[:, 0].tolist()
    curve = {f"rmse after {step}": value for step, value in zip(steps, rmse, strict=True)}
    accepted = result.best_loss_so_far.diff(dim=1) < 0
    return {
        **curve,
        "mse": metrics.mse(result.x[0].clamp(0, 1), truth).item(),
        "loss": result.best_loss.item(),
        "iterations": accepted.sum().item(),
        "label": result.y.item(),
    }


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """The curves of all settings: five quantiles of the RMSE over the images.

    Other columns: how many images are recognisable at the end, and the median of the iterations.
    """
    rows = []
    for setting, runs in table.groupby(SETTING, sort=False):
        names = dict(zip(SETTING, setting, strict=True))
        ends = {
            "images": len(runs),
            "recognisable": int((runs["mse"] < 1e-2).sum()),
            "iterations": runs["iterations"].median(),
        }
        curves = runs.filter(like="rmse after").dropna(axis=1, how="all")
        for column, values in curves.items():
            step = int(str(column).removeprefix("rmse after "))
            rows.append({**names, "evaluation": step, **quantiles(values), **ends})
    return pd.DataFrame(rows)


def quantiles(values: pd.Series) -> dict[str, float]:
    """Five quantiles, {column: value}."""
    numbers = values.quantile(list(QUANTILES.values())).round(6)
    return dict(zip(QUANTILES, numbers.tolist(), strict=True))


def main() -> None:
    """Run what is missing, and write the summary after each part."""
    parts = []
    for rates, attackers in PARTS:
        grid = {
            "rate": rates,
            "attacker": list(attackers),
            "init": list(INITIALISERS),
            "image": IMAGES,
        }
        chunk = len(INITIALISERS) * len(IMAGES)
        folder = FOLDER / f"rate {rates[0]:g}"
        parts.append(sweeps.run_grid(trial, grid, folder, chunk=chunk, progress=True))
        TABLE.parent.mkdir(exist_ok=True)
        summary(pd.concat(parts)).to_csv(TABLE, index=False)


if __name__ == "__main__":
    main()
