"""Two images in one gradient: how well do they come back, by class, weights, precision, attacker?

Without dropout an attacker is told the labels, or has read the features too (`fixed_point`); with
dropout of 0.5 `separation.separate` reads labels, masks and features. All match gradients with
equally many evaluations, on fruits and on photographs. `python -m reproduce.pairs` writes
pairs.csv, a row an image (about 10 CPU minutes, on all cores); an interrupted run goes on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import torch
from torch import Generator, Tensor

import dlgutils as du
from dlgutils import attacks, federated, metrics, sweeps
from dlgutils.analytic import separation
from dlgutils.types import Guess
from reproduce.batches import feature_distance
from reproduce.fixed_point import condition, draw_labels, honest_round, unmix
from reproduce.inputs import INITIALISERS, all_images, told
from reproduce.tables import COMMITTED

STEPS = 300  # evaluations
PRECISIONS = {"float32": torch.float32, "float64": torch.float64}
RATES = {"labels": 0.0, "features": 0.0, "dropout": 0.5}
"""What an attacker knows, and the rate of the dropout that they face."""
COMMON = {
    "images": ["fruits", "photos"],
    "init": list(INITIALISERS),
    "precision": list(PRECISIONS),
}
SEEDS = range(6)
GRIDS = {
    "labels": {"labels": ["same", "different"], "knows": ["labels"]},
    "features": {"labels": ["same"], "knows": ["features"]},
    "dropout": {"labels": ["same"], "knows": ["dropout"]},
}
SETTING = ["images", "labels", "init", "precision", "knows"]
FOLDER = Path("_build/pairs")
TABLE = COMMITTED / "pairs.csv"


def trial(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The scores of both images of each cell's round; the cells differ in their seed alone."""
    torch.set_num_threads(1)
    rounds = [draw(**cell) for cell in cells]
    read = [prepare(cells[0]["knows"], one) for one in rounds]
    seeds = [cell["seed"] for cell in cells]
    found = reconstruct(rounds, [attack for attack, _ in read], seeds)
    images = all_images(cells[0]["images"]).x
    rows = []
    for x, one, (_, certain) in zip(found, rounds, read, strict=True):
        row = {"condition": condition(one), "certain": int(certain)}
        rows.append(row | scores(x, one, images))
    return rows


def reconstruct(
    rounds: Sequence[federated.Round], each: Sequence[du.Attack], seeds: Sequence[int]
) -> Sequence[Tensor]:
    """Both images of every round, (2, channels, height, width) each.

    each: the attack on each round; they run together unless one has a prior of its own.
    """
    model, shared = rounds[0].model, [one.shared for one in rounds]
    if all(attack.prior is None for attack in each):
        guesses = [a.infer(model, s) for s, a in zip(shared, each, strict=True)]
        together = told(attacks.idlg, shared, guesses)
        return du.invert(model, shared, together, seeds=seeds, steps=STEPS).x
    found = []
    for one, attack, seed in zip(rounds, each, seeds, strict=True):
        result = du.invert(one.model, one.shared, attack, seeds=[seed], steps=STEPS)
        found.append(result.x[0])
    return found


def draw(
    *, images: str, labels: str, init: str, precision: str, knows: str, seed: int
) -> federated.Round:
    """The round of one cell; what the attacker knows makes no difference but for dropout.

    Args:
        images: "fruits" or "photos".
        labels: "same" or "different".
        init: a key of INITIALISERS.
        precision: a key of PRECISIONS.
        knows: a key of RATES.
        seed: of everything that is drawn.
    """
    generator = Generator().manual_seed(seed)
    y = draw_labels(labels, 2, 12, generator)
    return honest_round(
        all_images(images).x,
        y,
        generator,
        init=init,
        rate=RATES[knows],
        dtype=PRECISIONS[precision],
    )


def prepare(knows: str, one: federated.Round) -> tuple[du.Attack, bool]:
    """iDLG with what was read before the search, and whether it was certified."""
    guess, features = Guess(y=one.secret.y), None
    certain = True
    if knows == "features":
        found = unmix(one.shared, one.secret.y)
        certain = found.certain
        features = found.features if certain else None
    if knows == "dropout":
        reading = separation.separate(one.model, one.shared).reading
        certain = reading is not None
        if reading:
            guess = Guess(y=reading.y, masks=reading.masks)
    attack = replace(attacks.idlg, infer=lambda *_: guess)
    if features is not None:
        attack = replace(attack, prior=feature_distance(one.model, one.shared, features))
    return attack, certain


def scores(x: Tensor, one: federated.Round, images: Tensor) -> dict[str, float]:
    """MSE, SSIM and identification of both images of a round, clipped to [0, 1]."""
    truth = one.secret.x
    x = metrics.align(x.clamp(0, 1), truth)
    mse = metrics.mse(x, truth).tolist()
    ssim = metrics.ssim(x, truth).tolist()
    known = metrics.identified(x, truth, images.to(truth)).tolist()
    row = {}
    for k in range(len(truth)):
        row |= {f"mse {k}": mse[k], f"ssim {k}": ssim[k], f"identified {k}": int(known[k])}
    return row


def per_image(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each image instead of each round."""
    parts = []
    for k in (0, 1):
        names = {f"{score} {k}": score for score in ("mse", "ssim", "identified")}
        other = [f"{score} {1 - k}" for score in names.values()]
        parts.append(table.drop(columns=other).rename(columns=names))
    return pd.concat(parts, ignore_index=True)


def summary(images: pd.DataFrame) -> pd.DataFrame:
    """A row for each setting: counts over its images, and medians."""
    settings = images.groupby(SETTING, sort=False)
    return pd.DataFrame(
        {
            "images": settings.size(),
            "MSE < 1e-2": settings["mse"].agg(lambda mse: int((mse < 1e-2).sum())),
            "identified": settings["identified"].sum(),
            "certified": settings["certain"].sum(),
            "median MSE": settings["mse"].median(),
            "median SSIM": settings["ssim"].median(),
            "condition": settings["condition"].median(),
        }
    )


def main() -> None:
    """Run what is missing on all cores, write a row for each image, and print the summary."""
    tables = []
    with joblib.parallel_config(n_jobs=-1):
        for name, grid in GRIDS.items():
            axes = {**COMMON, **grid, "seed": SEEDS}
            size = len(SEEDS)
            tables.append(sweeps.run_grid(trial, axes, FOLDER / name, chunk=size, progress=True))
    images = per_image(pd.concat(tables))
    TABLE.write_text(images.to_csv(index=False, float_format="%.3g"), encoding="utf-8")
    print(summary(images).to_string(float_format="{:.2g}".format))


if __name__ == "__main__":
    main()
