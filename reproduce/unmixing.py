"""How large a batch comes apart by the fixed point of δ and H, with and without dropout?

Each round draws fruits, labels, the weights of a sigmoid LeNet and, with dropout, masks. The labels
are given to the iteration; whether the attacker could have read them is counted beside.
`python -m reproduce.unmixing` writes unmixing.csv (about 20 CPU minutes); an interrupted run goes
on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import torch
from torch import Generator

from dlgutils import sweeps
from reproduce.fixed_point import (
    condition,
    draw_labels,
    feature_error,
    honest_round,
    read_label_counts,
    true_features,
    unmix,
)
from reproduce.inputs import INITIALISERS, all_images
from reproduce.tables import COMMITTED

GRIDS = {
    "12 classes": {"classes": [12], "batch": [2, 4, 8, 10]},
    "100 classes": {"classes": [100], "batch": [2, 4, 8, 16, 32]},
}
COMMON = {
    "init": list(INITIALISERS),
    "rate": [0.0, 0.5],
    "labels": ["different", "random", "same"],
    "seed": range(20),
}
SETTING = ["classes", "batch", "init", "rate", "labels"]
RIGHT = 0.1  # the largest error that is called right, as `feature_error` measures it
WRONG = 1.0  # an image with this error is as far from the truth as the most similar other one is
FOLDER = Path("_build/unmixing")
TABLE = COMMITTED / "unmixing.csv"


def trial(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What became of the round of each cell."""
    torch.set_num_threads(1)
    return [measure(**cell) for cell in cells]


def measure(
    *, classes: int, batch: int, init: str, rate: float, labels: str, seed: int
) -> dict[str, Any]:
    """One round: were its labels to be read, and did it come apart?

    Args:
        classes: of the network.
        batch: the number of images.
        init: a key of INITIALISERS.
        rate: of dropout.
        labels: as `draw_labels` takes them.
        seed: of everything that is drawn.
    """
    generator = Generator().manual_seed(seed)
    y = draw_labels(labels, batch, classes, generator)
    images = all_images("fruits").x
    one = honest_round(images, y, generator, init=init, classes=classes, rate=rate)
    counts = torch.bincount(y, minlength=classes)
    found = unmix(one.shared, y)
    error = feature_error(found.features, true_features(one))
    return {
        "labels_read": int(read_label_counts(one).equal(counts)),
        "certain": int(found.certain),
        "right": int(error < RIGHT),
        "certain_but_wrong": int(found.certain and error >= WRONG),
        "condition": condition(one),
        "error": error,
        "steps": found.steps,
    }


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each setting: counts over its rounds, and medians."""
    settings = table.groupby(SETTING, sort=False)
    counted = ["labels_read", "certain", "right", "certain_but_wrong"]
    counts = settings[counted].sum()
    counts.insert(0, "rounds", settings.size())
    medians = settings[["condition", "error", "steps"]].median()
    return counts.join(medians).reset_index()


def main() -> None:
    """Run what is missing on all cores, write the summary, and print it."""
    tables = []
    with joblib.parallel_config(n_jobs=-1):
        for name, grid in GRIDS.items():
            axes = {**grid, **COMMON}
            out = FOLDER / name.replace(" ", "_")
            tables.append(sweeps.run_grid(trial, axes, out, chunk=10, progress=True))
    result = summary(pd.concat(tables))
    TABLE.write_text(result.to_csv(index=False, float_format="%.3g"), encoding="utf-8")
    print(result.to_string(float_format="{:.2g}".format))


if __name__ == "__main__":
    main()
