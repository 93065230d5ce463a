"""The dropout run: six attackers with 5 800 evaluations each.

Zheng (2021, arXiv:2108.11106) reports that with a dropout rate of 0.5 before the classifier the
image does not reach a small RMSE after 5 800 epochs of the attack. Here each attacker has 5 800
evaluations at that rate, and a tenth of them at five others, without dropout among them: 20 fruits
and 20 photographs, each on a fresh LeNet of either initialisation.

`python -m reproduce.dropout_run [cpu|cuda] [processes] [attacker ...]` writes dropout_run.csv; with
attackers named, it replaces their rows only. Two processors take about four hours, half of them for
the mean over masks. Finished chunks are kept in _build/dropout_run, so an interrupted run goes on.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
from torch import Tensor

import dlgutils as du
from dlgutils import attacks, metrics, sweeps
from dlgutils.matching import optimizers
from reproduce.dropout_cells import AXES, check_complete, chunk_size, honest_round, prepare, scores
from reproduce.tables import COMMITTED

FULL = 5800
STEPS = {0.5: FULL, **dict.fromkeys((0.9, 0.0, 0.1, 0.3, 0.7), FULL // 10)}
ATTACKERS = {
    "eval mode": attacks.idlg,
    "eval mode, reference loop": attacks.idlg_reference,
    "fresh masks": attacks.idlg_fresh_masks,
    "mean over masks": attacks.idlg_mean_over_masks,
    "DIA": attacks.dia,
    "mask reading": attacks.mask_reading,
}
FOLDER = Path("_build/dropout_run")
TABLE = COMMITTED / "dropout_run.csv"
SETTING = ["init", "images", "rate", "attacker"]
QUANTILES = {"lowest": 0, "quarter": 0.25, "median": 0.5, "three_quarters": 0.75, "highest": 1}


def dia(steps: int) -> du.Attack:
    """DIA whose steps shrink after a wait of 15 % of its evaluations, at most the published 800.

    800 of 20 000 evaluations were published; with fewer, such a wait would never end.
    """
    patience = max(1, min(800, 3 * steps // 20))
    adam = optimizers.adam(lr=0.1, signed=True, box=(0, 1), patience=patience)
    return replace(attacks.dia, optimizer=adam)


def trial(cells: Sequence[Mapping[str, Any]], device: str) -> list[dict[str, Any]]:
    """A row for each cell; those of one attacker and one rate go through one `invert`."""
    prepare(device)
    rows: dict[int, dict[str, Any]] = {}
    groups: dict[tuple[str, float], list[int]] = {}
    for k, cell in enumerate(cells):
        groups.setdefault((cell["attacker"], cell["rate"]), []).append(k)
    for (name, rate), group in groups.items():
        attack = dia(STEPS[rate]) if name == "DIA" else ATTACKERS[name]
        kind = [cells[k] for k in group]
        rows.update(zip(group, measured(kind, attack, STEPS[rate], device), strict=True))
    return [rows[k] for k in range(len(cells))]


def measured(
    cells: Sequence[Mapping[str, Any]], attack: du.Attack, steps: int, device: str
) -> list[dict[str, Any]]:
    """What one attack did in these cells, a row for each.

    Args:
        cells: of one rate.
        attack: the recipe.
        steps: evaluations of the matching loss.
        device: "cpu" or "cuda".
    """
    rounds = [honest_round(cell, device) for cell in cells]
    result = du.invert(
        rounds[0].model,
        [one.shared for one in rounds],
        attack,
        seeds=[cell["image"] for cell in cells],
        steps=steps,
    )
    check_complete(result)
    pairs = zip(rounds, cells, strict=True)
    return [row(result.run(k), one.secret.x, cell) for k, (one, cell) in enumerate(pairs)]


def row(result: du.Result, truth: Tensor, cell: Mapping[str, Any]) -> dict[str, Any]:
    """What one run did: its RMSE at every frame, and the scores of its final image."""
    steps = result.frame_steps.tolist()
    rmse = metrics.rmse(result.frames[:, 0], truth)[:, 0].tolist()
    curve = {f"rmse after {step}": value for step, value in zip(steps, rmse, strict=True)}
    accepted = result.best_loss_so_far.diff(dim=1) < 0
    return {
        **curve,
        **scores(result.x[0], cell),
        "loss": result.best_loss.item(),
        "iterations": accepted.sum().item(),
    }


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """The curves of all settings: five quantiles of the RMSE over the images.

    Other columns, of the final images: how many there are, how many are recognisable and how many
    identified, the medians of MSE and SSIM, and the median of the iterations.
    """
    rows = []
    for setting, runs in table.groupby(SETTING, sort=False):
        names = dict(zip(SETTING, setting, strict=True))
        ends = {
            "runs": len(runs),
            "recognisable": int((runs["mse"] < 1e-2).sum()),
            "identified": int(runs["identified"].sum()),
            "mse": float(f"{runs['mse'].median():.3g}"),
            "ssim": round(runs["ssim"].median(), 3),
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


def write(new: pd.DataFrame) -> None:
    """Write the summary; rows of attackers that are not in it stay in the table."""
    parts = [new]
    if TABLE.exists():
        old = pd.read_csv(TABLE)
        parts.append(old[~old["attacker"].isin(new["attacker"])])
    order = {name: k for k, name in enumerate(ATTACKERS)}
    whole = pd.concat(parts)
    whole = whole.sort_values("attacker", key=lambda names: names.map(order), kind="stable")
    TABLE.parent.mkdir(exist_ok=True)
    whole.to_csv(TABLE, index=False)


def counts(table: pd.DataFrame) -> str:
    """Images recognisable at the end, by setting: a table to read."""
    ends = table.drop_duplicates(SETTING)
    index = ["init", "images", "attacker"]
    return ends.pivot(index=index, columns="rate", values="recognisable").to_string()


def run(
    trial: Callable, grid: Mapping[str, Any], folder: Path, device: str, processes: int
) -> pd.DataFrame:
    """The table of a grid, computed by several processes.

    Args:
        trial: as in `sweeps.run_grid`.
        grid: {axis: values}.
        folder: where finished chunks are kept.
        device: "cpu" or "cuda".
        processes: how many of them.
    """
    with joblib.parallel_config(n_jobs=processes):
        return sweeps.run_grid(trial, grid, folder, chunk=chunk_size(device), progress=True)


def main(device: str = "cpu", processes: int = 1, *attackers: str) -> None:
    """Run what is missing, write the summary and print its counts.

    Raises KeyError for an attacker that is not in ATTACKERS.
    """
    names = {name: ATTACKERS[name].name for name in attackers or ATTACKERS}
    folder = FOLDER / device / ", ".join(names)
    grid = {"rate": list(STEPS), "attacker": list(names), **AXES}
    table = summary(run(partial(trial, device=device), grid, folder, device, processes))
    write(table)
    print(counts(table))


if __name__ == "__main__":
    device, processes, *attackers = [*sys.argv[1:], *("cpu", "1")[len(sys.argv) - 1 :]]
    main(device, int(processes), *attackers)
