"""How well the closed form does, image by image, beside a search.

Four experiments on the LeNet: sigmoids, on three sets of images, at several dropout rates; noise in
the gradient, whose size the solver is given; ReLU; and networks that have been trained on fruits,
attacked on fruits that they have not seen. Run k of a row has seed k, which draws the image, the
weights, the mask and the noise; no image is chosen. `python -m reproduce.closed_form` prints a
Markdown table for each and writes all of them to closed_form.csv, in half an hour of one core,
using all cores; an interrupted run goes on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import torch
from torch import Generator, Tensor, nn

import dlgutils as du
from dlgutils import attacks, data, federated, metrics, models, sweeps
from dlgutils.analytic import closed_form
from dlgutils.federated import defenses
from dlgutils.matching import objectives
from dlgutils.types import Guess
from reproduce.inputs import INITIALISERS, all_images, one_image
from reproduce.tables import COMMITTED, print_table
from reproduce.trained_networks import Training, accuracy, held_out, trained

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "ReLU": nn.ReLU}
FOLDER = Path("_build/closed_form")
TABLE = COMMITTED / "closed_form.csv"
IMAGES_A_NETWORK = 8  # trained networks are costly
TUNED_ON = 100  # held-out images on which the weights of the equations were tuned: not attacked
PLAIN = {
    "images": ["fruits"],
    "activation": ["sigmoid"],
    "init": ["default"],
    "epochs": [0],
    "rate": [0.0, 0.5],
    "dtype": ["float32"],
    "noise": [0.0],
    "evaluations": [0],
    "run": list(range(24)),
}
"""What an experiment does not say."""

COUNTS = ("images", "runs", "below_1e-2", "identified", "labels_right", "determined")
"""The columns that a printed table always has; of the others, those that vary."""

WAYS = ("solved", "searched")
"""The closed form, and iDLG from grey."""

EXPERIMENTS = {
    "sigmoid": {
        "images": ["fruits", "fashion", "photos"],
        "init": list(INITIALISERS),
        "rate": [0.0, 0.5, 0.9],
    },
    "noise": {
        "images": ["fashion"],
        "init": list(INITIALISERS),
        "rate": [0.5],
        "noise": [1e-5, 1e-4, 1e-3, 1e-2],
        "evaluations": [150],
        "run": list(range(6)),
    },
    "ReLU": {"images": ["fashion"], "activation": ["ReLU"], "run": list(range(6))},
    "trained": {
        "epochs": [5, 30, 80],
        "rate": [0.0],
        "dtype": ["float32", "float64"],
        "evaluations": [200],
        "run": list(range(8)),
    },
}


def trial(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The scores of one honest round for each cell, a row each."""
    torch.set_num_threads(1)
    return [solve(**cell) for cell in cells]


def solve(
    *, noise: float, evaluations: int, run: int, **setting: Any
) -> dict[str, float | int | None]:
    """The scores of the closed form and, if it is given evaluations, of iDLG.

    With noise, iDLG stops at the `first_match`.

    Args:
        noise: the standard deviation of what is added to every number of the gradient.
        evaluations: of iDLG, which gets the label and the mask that the closed form read.
        run: the seed.
        setting: what else `draw` needs.
    """
    generator = Generator().manual_seed(run)
    everything = all_images(setting["images"])
    one = draw(everything, generator, run=run, **setting)
    shared = defenses.defend(one.shared, [defenses.noise(noise)], generator)
    found = closed_form.recover(one.model, shared, noise=noise)
    others = everything.x.to(found.x)
    row = scores("solved", found.x, one.secret.x, others)
    row["label_right"] = int(found.y == one.secret.y)
    row["determined"] = int(found.determined)
    row["residual"] = max(layer.residual for layer in found.layers)
    row["accuracy"] = accuracy(one.model) if setting["epochs"] else None
    row["baseline"] = float(metrics.mean_image(one.secret.x, others)) ** 2
    if evaluations:
        known = Guess(y=found.y, masks=found.masks)
        attack = replace(attacks.idlg, infer=lambda *_: known)
        result = du.invert(one.model, shared, attack, steps=evaluations, frames=25)
        x = first_match(result, shared, noise) if noise else result.x[0]
        row |= scores("searched", x, one.secret.x, others)
    return row


def draw(
    everything: du.Batch,
    generator: Generator,
    *,
    images: str,
    activation: str,
    init: str,
    epochs: int,
    rate: float,
    dtype: str,
    run: int,
) -> federated.Round:
    """The round of one run, on an image drawn from the set.

    Args:
        everything: the set of images.
        generator: draws the image, the weights and the mask.
        images: its name.
        activation: a key of ACTIVATIONS.
        init: a key of INITIALISERS, for networks that are not trained.
        epochs: how long the network was trained; such networks have not seen the image.
        rate: of dropout.
        dtype: of the round, by its name.
        run: every eight of them share a trained network, of a seed of its own.
    """
    rows = held_out()[TUNED_ON:] if epochs else torch.arange(len(everything.x))
    k = int(rows[torch.randint(len(rows), (), generator=generator)])
    secret = one_image(everything, k)
    secret = secret._replace(x=secret.x.to(getattr(torch, dtype)))
    if epochs:
        training = Training("LeNet, sigmoid", rate=rate, seed=run // IMAGES_A_NETWORK)
        model = trained(training, epochs).to(secret.x.dtype)
        return federated.honest(model, secret, generator, init=None)
    classes = len(data.class_names(images))
    shape = tuple(secret.x.shape[1:])
    model = models.lenet(shape, classes, dropout=rate, activation=ACTIVATIONS[activation])
    return federated.honest(model.to(secret.x.dtype), secret, generator, init=INITIALISERS[init])


def first_match(result: du.Result, shared: du.Shared, noise: float) -> Tensor:
    """The first picture of a film at which the gradient is matched as well as noise allows.

    That is a loss of n σ²/‖g‖² for n numbers, which the attacker knows; the last one if none is
    below. A search that goes on matches the noise.
    """
    n = sum(g.numel() for g in shared.gradient.values())
    allowed = noise**2 * n / objectives.squared_norm(shared.gradient)
    losses = result.best_loss_so_far[0, result.frame_steps[1:] - 1]
    below = losses < allowed
    below[-1] = True
    return result.frames[1 + int(below.int().argmax()), 0]


def scores(how: str, x: Tensor, truth: Tensor, images: Tensor) -> dict[str, float | int]:
    """MSE (clipped to [0, 1]), SSIM and identification of one image, in columns named `how`."""
    return {
        f"{how}: MSE": float(metrics.mse(x.clamp(0, 1), truth)),
        f"{how}: SSIM": float(metrics.ssim(x, truth)),
        f"{how}: identified": int(metrics.identified(x, truth, images)),
    }


def summary(table: pd.DataFrame, how: str) -> pd.DataFrame:
    """A row for each setting: how many images, how many recognisable and identified, the errors.

    how: one of WAYS, with whose name the columns begin.
    """
    axes = [axis for axis in PLAIN if axis != "run"]
    wrong = (table["determined"] == 1) & (table["solved: MSE"] >= 1e-2)
    settings = table.assign(attack=how, wrong=wrong).groupby([*axes, "attack"], sort=False)
    mse = settings[f"{how}: MSE"]
    ssim = settings[f"{how}: SSIM"]
    columns = {
        "runs": mse.size(),
        "below_1e-2": mse.agg(lambda values: (values < 1e-2).sum()),
        "identified": settings[f"{how}: identified"].sum(),
        "labels_right": settings["label_right"].sum(),
        "determined": settings["determined"].sum(),
        "determined_but_wrong": settings["wrong"].sum(),
        "median_residual": settings["residual"].median(),
        "worst_residual": settings["residual"].max(),
        "accuracy": settings["accuracy"].mean(),
        "median_mse": mse.median(),
        "worst_mse": mse.max(),
        "median_ssim": ssim.median(),
        "worst_ssim": ssim.min(),
        "baseline_mse": settings["baseline"].median(),
    }
    return pd.DataFrame(columns).reset_index()


def summaries(name: str) -> pd.DataFrame:
    """The summary of one experiment, for every way in which its images were sought."""
    grid = PLAIN | EXPERIMENTS[name]
    table = sweeps.run_grid(trial, grid, FOLDER / name, chunk=IMAGES_A_NETWORK, progress=True)
    ways = [how for how in WAYS if f"{how}: MSE" in table]
    return pd.concat([summary(table, how) for how in ways]).assign(experiment=name)


def main() -> None:
    """Run what is missing, print a table for each experiment, and write all of them."""
    tables = []
    with joblib.parallel_config(n_jobs=-1):
        for name in EXPERIMENTS:
            table = summaries(name)
            shown = [c for c in table if c in COUNTS or table[c].nunique() > 1]
            print(f"\n{name}\n")
            print_table(shown, table[shown].itertuples(index=False))
            tables.append(table)
            pd.concat(tables).to_csv(TABLE, index=False, float_format="%.3g")


if __name__ == "__main__":
    main()
