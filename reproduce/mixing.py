"""How large a batch comes apart by the residual of its own δ, on networks trained for how long?

Each round draws images that the network has not seen, and shares the gradient of their mean loss;
the labels are sought, or given. A round counts as certified if `separate` reads all its images;
`told_apart` counts images, those of partial readings too. What it says is compared with the truth:
an image is wrong if it is farther from its own features than its error bar, or has another label.
`determined` counts the rounds that would have been certified had the search begun at the truth: of
the others rounding is to blame, not the search. `python -m reproduce.mixing [processes]` writes
mixing.csv (about forty minutes of one core); an interrupted run goes on.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import joblib
import pandas as pd
import torch
from torch import Generator, Tensor

import dlgutils as du
from dlgutils import data, federated, models, sweeps
from dlgutils.analytic import mixing_solution, mixing_system, replay, separation, sparse_rows
from dlgutils.analytic.classifier import classifier_of
from reproduce.inputs import all_images
from reproduce.tables import COMMITTED
from reproduce.trained_networks import Training, held_out, trained

LENETS = ["LeNet, sigmoid", "LeNet, ReLU"]
ALWAYS = {
    "network": ["CNN", *LENETS],
    "images": ["fruits"],
    "classes": [14],
    "known": [False],
    "dtype": ["float32"],
}
EPOCHS = [0, 1, 5, 15, 40, 80]
SOME = [0, 1, 15, 80]
MANY = [8, 10, 12]  # images, beyond half the classes
HUNDRED = {"network": ["LeNet, sigmoid"], "classes": [100], "epochs": [0]}
CNN = {"network": ["CNN"]}
FASHION = CNN | {"images": ["fashion"], "classes": [10]}
DIGITS = {"dtype": ["float64"]}
GRIDS = {
    "heat map": CNN | {"epochs": EPOCHS, "batch": range(2, 8), "seed": range(20)},
    "LeNets": {"network": LENETS, "epochs": SOME, "batch": [2, 4, 7], "seed": range(15)},
    "100 classes": HUNDRED | {"batch": [2, 4, 8, 16, 32], "seed": range(20)},
    "100 classes, double": HUNDRED | DIGITS | {"batch": [16, 32], "seed": range(8)},
    "labels given": {"epochs": SOME, "batch": [4, 7, *MANY], "known": [True], "seed": range(8)},
    "many": CNN | {"epochs": EPOCHS, "batch": MANY, "seed": range(6)},
    "Fashion": FASHION | {"epochs": [0, 15], "batch": [2, 4, 5, 7], "seed": range(10)},
    "double": CNN | DIGITS | {"epochs": [0, 15], "batch": [4, 7, 8], "seed": range(6)},
    "many, LeNets": {"network": LENETS, "epochs": SOME, "batch": [8, 10], "seed": range(8)},
}
"""What varies in each experiment; `ALWAYS` says the rest."""

SETTING = ["network", "images", "classes", "epochs", "batch", "known", "dtype"]
FOLDER = Path("_build/mixing")
TABLE = COMMITTED / "mixing.csv"


class Secret(NamedTuple):
    """A round, and what entered its classifier."""

    model: torch.nn.Module
    shared: du.Shared
    y: Tensor  # (batch,)
    features: Tensor  # (batch, features)


def trial(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What became of the round of each cell."""
    torch.set_num_threads(1)
    return [measure(**cell) for cell in cells]


def draw(
    *,
    network: str,
    images: str,
    classes: int,
    epochs: int,
    batch: int,
    dtype: str,
    seed: int,
) -> Secret:
    """The round of one cell.

    Args:
        network: one of `trained_networks.NETWORKS`.
        images: the set.
        classes: of the network; where they are not those of the set, labels are drawn.
        epochs: how long it was trained.
        batch: the number of images.
        dtype: of the gradient, by its name.
        seed: draws the images; even and odd ones have a network each.
    """
    everything = all_images(images)
    generator = Generator().manual_seed(seed)
    rows = held_out(images)
    chosen = rows[torch.randperm(len(rows), generator=generator)[:batch]]
    y = everything.y[chosen]
    if classes == len(data.class_names(images)):
        model = trained(Training(network, images, seed=seed % 2), epochs)
    else:
        y = torch.randint(classes, (batch,), generator=generator)
        model = models.init_default(models.lenet(classes=classes), generator)
    model = model.to(getattr(torch, dtype))
    x = everything.x[chosen].to(next(model.parameters()))
    calls, _ = models.observe(model, x)
    one = federated.honest(model, du.Batch(x, y), generator, init=None)
    return Secret(model, one.shared, y, calls[-1].input)


def measure(*, known: bool, **cell: Any) -> dict[str, Any]:
    """One round: did it come apart, and is what was read true?

    known: whether the labels are given. cell: what `draw` takes.
    """
    secret = draw(**cell)
    y = secret.y if known else None
    start = process_time()
    found = separation.separate(secret.model, secret.shared, y=y)
    seconds = process_time() - start
    whole = int(found.n_found == cell["batch"])
    row = {"certified": whole, "wrong": 0, "told_apart": found.n_found, "seconds": seconds}
    row["determined"] = int(whole or is_determined(secret))
    if found.reading is None:
        return row | {"error": torch.nan, "error_bar": torch.nan}
    features = found.reading.features
    exact = "donot_use_mm_for_euclid_dist"  # the default is coarse for more than 25 rows
    off, order = torch.cdist(features, secret.features, compute_mode=exact).min(1)
    length = secret.features[order].square().sum(1).add(1).sqrt()
    rounding = 4 * torch.finfo(off.dtype).eps
    inside = off <= (found.error + rounding) * length
    one_each = len(order.unique()) == len(order)
    labels_right = found.reading.y.equal(secret.y[order])
    right = one_each and labels_right and bool(inside.all())
    return row | {
        "wrong": int(not right),
        "error": float((off / length).max()),
        "error_bar": float(found.error.max()),
    }


def is_determined(secret: Secret) -> bool:
    """Whether a search that began at the truth would have read the round whole."""
    shared, batch = secret.shared, len(secret.y)
    classifier = classifier_of(shared)
    _, rows = sparse_rows.row_space(classifier.gradient, batch, shared.precision)
    if mixing_system.count_traces(classifier, rows.eps) < batch:
        return False
    inputs = torch.cat([secret.features, torch.ones_like(secret.features[:, :1])], 1).double()
    found = mixing_solution.near(classifier, inputs, secret.y, 1 / batch, rows.eps)
    if not found.certain:
        return False
    found = replay.checked(classifier, found, rows.eps, shared.like, shared.precision)
    return bool((found.error <= separation.TOLD_APART).all())


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each setting: counts over its rounds, and medians of those that are certified."""
    settings = table.groupby(SETTING, sort=False)
    counts = settings[["certified", "determined", "wrong", "told_apart"]].sum()
    counts.insert(0, "rounds", settings.size())
    medians = settings[["error", "error_bar", "seconds"]].median()
    return counts.join(medians).reset_index()


def main(processes: str = "-1") -> None:
    """Run what is missing, by default on all cores, write the summary, and print it."""
    tables = []
    with joblib.parallel_config(n_jobs=int(processes)):
        for name, grid in GRIDS.items():
            out = FOLDER / name.replace(" ", "_")
            tables.append(sweeps.run_grid(trial, ALWAYS | grid, out, chunk=10, progress=True))
            result = summary(pd.concat(tables))
            TABLE.write_text(result.to_csv(index=False, float_format="%.3g"), encoding="utf-8")
    print(result.to_string(float_format="{:.2g}".format))
    print(f"{result['rounds'].sum()} rounds, {result['wrong'].sum()} certified and wrong")


if __name__ == "__main__":
    main(*sys.argv[1:])
