"""How large a batch comes apart by the residual of its own δ, on networks trained for how long?

Each round draws images that the network has not seen, and shares the gradient of their mean loss;
the labels are sought, or given. A round counts as certified if `separate` reads all its images;
`told_apart` counts images, those of partial readings too. What it says is compared with the truth:
an image is wrong if it is farther from its own features than its error bar, or has another label.
`python -m reproduce.mixing` writes mixing.csv
(about five minutes of one core); an interrupted run goes on. There are five rounds of a setting of
the map, two of eight images, where a search in vain takes five seconds, and three of the others.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import joblib
import pandas as pd
import torch
from torch import Generator, Tensor

import dlgutils as du
from dlgutils import data, federated, models, sweeps
from dlgutils.analytic import separation
from reproduce.inputs import all_images
from reproduce.tables import COMMITTED
from reproduce.trained_networks import Training, held_out, trained

ALWAYS = {"images": ["fruits"], "classes": [14], "known": [False], "dtype": ["float32"]}
EPOCHS = [0, 1, 5, 15, 40, 80]
GRIDS = {
    "heat map": {
        "network": ["CNN"],
        "epochs": EPOCHS,
        "batch": [2, 3, 4, 5, 6, 7],
        "seed": range(5),
    },
    "eight images": {
        "network": ["CNN"],
        "epochs": EPOCHS,
        "batch": [8],
        "seed": range(2),
    },
    "LeNets": {
        "network": ["LeNet, sigmoid", "LeNet, ReLU"],
        "epochs": [0, 15, 80],
        "batch": [2, 4, 7],
        "seed": range(3),
    },
    "Fashion": {
        "network": ["CNN"],
        "images": ["fashion"],
        "classes": [10],
        "epochs": [0, 15],
        "batch": [2, 5],
        "seed": range(3),
    },
    "double precision": {
        "network": ["CNN"],
        "epochs": [0, 15],
        "batch": [4, 7],
        "dtype": ["float64"],
        "seed": range(3),
    },
    "100 classes": {
        "network": ["LeNet, sigmoid"],
        "classes": [100],
        "epochs": [0],
        "batch": [2, 8, 16],
        "seed": range(3),
    },
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
    start = perf_counter()
    found = separation.separate(secret.model, secret.shared, y=y)
    seconds = perf_counter() - start
    whole = int(found.n_found == cell["batch"])
    row = {"certified": whole, "wrong": 0, "told_apart": found.n_found, "seconds": seconds}
    if found.reading is None:
        return row | {"error": torch.nan, "error_bar": torch.nan}
    distances = torch.cdist(found.reading.features, secret.features)
    off, order = distances.min(1)
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


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each setting: counts over its rounds, and medians of those that are certified."""
    settings = table.groupby(SETTING, sort=False)
    counts = settings[["certified", "wrong", "told_apart"]].sum()
    counts.insert(0, "rounds", settings.size())
    medians = settings[["error", "error_bar", "seconds"]].median()
    return counts.join(medians).reset_index()


def main() -> None:
    """Run what is missing on all cores, write the summary, and print it."""
    tables = []
    with joblib.parallel_config(n_jobs=-1):
        for name, grid in GRIDS.items():
            out = FOLDER / name.replace(" ", "_")
            tables.append(sweeps.run_grid(trial, ALWAYS | grid, out, chunk=10, progress=True))
            result = summary(pd.concat(tables))
            TABLE.write_text(result.to_csv(index=False, float_format="%.3g"), encoding="utf-8")
    print(result.to_string(float_format="{:.2g}".format))
    print(f"{result['rounds'].sum()} rounds, {result['wrong'].sum()} certified and wrong")


if __name__ == "__main__":
    main()
