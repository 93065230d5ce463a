"""The run of "Dropout against Deep Leakage from Gradients" in full: `make paper`, two hours, dlgutils/tables/dropout_run.csv.

Zheng (2021, arXiv:2108.11106) reports that with a dropout rate of 0.5 before the classifier the image does not reach a small
RMSE after 5 800 epochs of the attack. Here six attackers have 5 800 evaluations each at that rate, and a tenth of them at
five others, without dropout among them: 20 photographs, each on a fresh LeNet of either initialisation. Finished chunks are
kept in _build/dropout_run, so an interrupted run goes on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Generator

import dlgutils as du
from dlgutils import attacks, metrics, models, sweeps
from reproduce.recovery import pool

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
INITIALISERS = {"default": models.init_default, "wide": models.init_uniform}
FOLDER, TABLE = Path("_build/dropout_run"), Path(sweeps.__file__).parent / "tables/dropout_run.csv"


def trial(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """All cells of one attacker and one rate through one `invert`, each with its restarts: the RMSE of every frame."""
    name, rate = cells[0]["attacker"], cells[0]["rate"]
    torch.set_num_threads(1)
    everything, restarts = pool("photos"), RESTARTS.get(name, 1)
    rounds, x = [], []
    for cell in cells:
        generator, k = Generator().manual_seed(cell["image"]), cell["image"]
        secret = du.Batch(everything.x[k : k + 1], everything.y[k : k + 1])
        model = INITIALISERS[cell["init"]](models.lenet(dropout=rate), generator)
        rounds += [du.share(model, secret, generator)] * restarts
        x.append(secret.x)
    seeds = [1000 * restart + cell["image"] for cell in cells for restart in range(restarts)]
    result = du.invert(model, rounds, ATTACKERS[name], seeds, steps=STEPS[rate], progress=True)
    chosen = result.lowest.view(-1, restarts).argmin(1) + torch.arange(len(cells)) * restarts
    return [row(result.run(int(k)), truth) for k, truth in zip(chosen, x, strict=True)]


def row(result: du.Result, truth: torch.Tensor) -> dict[str, Any]:
    """What one run did: its RMSE at every frame, and the MSE of its last image clipped to [0, 1]."""
    at = result.frame_steps.tolist()
    rmse = metrics.rmse(result.frames[:, 0], truth)[:, 0].tolist()
    accepted = result.best_loss_so_far.diff(dim=1).lt(0).sum().item()
    end = metrics.mse(result.x[0].clamp(0, 1), truth).item()
    curve = {f"rmse after {step}": value for step, value in zip(at, rmse, strict=True)}
    return {
        **curve,
        "mse": end,
        "loss": result.lowest.item(),
        "iterations": accepted,
        "label": result.y.item(),
    }


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """The curves of all settings: five quantiles of the RMSE over the images, and how many are recognisable at the end."""
    rows = []
    for setting, runs in table.groupby(["init", "rate", "attacker"], sort=False):
        curves = runs.filter(like="rmse after").dropna(axis=1, how="all")
        ends = {
            "images": len(runs),
            "recognisable": int((runs["mse"] < 1e-2).sum()),
            "iterations": runs["iterations"].median(),
        }
        for column, values in curves.items():
            quantiles = values.quantile([0, 0.25, 0.5, 0.75, 1]).round(6).tolist()
            spread = dict(
                zip(
                    ("lowest", "quarter", "median", "three_quarters", "highest"),
                    quantiles,
                    strict=True,
                )
            )
            step = int(str(column).removeprefix("rmse after "))
            rows.append(
                {
                    **dict(zip(("init", "rate", "attacker"), setting, strict=True)),
                    "evaluation": step,
                    **spread,
                    **ends,
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    """Run what is missing, then write the summary."""
    parts = []
    for rates, attackers in (
        ((0.5,), ATTACKERS),
        ((0.0,), NAIVE),
        ((0.9, 0.1, 0.3, 0.7), ATTACKERS),
    ):
        grid = {
            "rate": rates,
            "attacker": list(attackers),
            "init": list(INITIALISERS),
            "image": IMAGES,
        }
        chunk, folder = len(INITIALISERS) * len(IMAGES), FOLDER / f"rate {rates[0]:g}"
        parts.append(sweeps.run_grid(trial, grid, folder, chunk=chunk, progress=True))
        TABLE.parent.mkdir(exist_ok=True)
        summary(pd.concat(parts)).to_csv(TABLE, index=False)


if __name__ == "__main__":
    main()
