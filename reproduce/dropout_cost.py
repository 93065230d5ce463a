"""What does the dropout defence cost in accuracy? Five seeds, six rates, trained until it is done.

The LeNet is trained on photographs of fruit, 14 classes, with Zheng's extra layer (2021,
arXiv:2108.11106). Every seed splits the 1 393 photographs anew into 800 for training, 200 for
validation and 393 for the test, and draws first weights and masks; seed for seed, all rates have
the same photographs and the same first weights. Training ends once the best accuracy on the
validation photographs is PATIENCE epochs old; the test accuracy is that of the epoch which had it
first. `python -m reproduce.dropout_cost` writes dropout_cost.csv, on all cores: about half an hour
of one, divided by their number. Finished trainings are kept in _build/dropout_cost, so an
interrupted run goes on.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import torch
from torch import Generator

from dlgutils import models, sweeps
from reproduce.early_stopping import epochs, split, train_until_done
from reproduce.tables import COMMITTED, print_table

RATES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
SEEDS = range(5)
TRAINING, VALIDATION, TEST = 800, 200, 393
BATCH = 50
LEARNING_RATE = 3e-3
PATIENCE = 80  # epochs
MOST_EPOCHS = 2000
FOLDER = Path("_build/dropout_cost")
TABLE = COMMITTED / "dropout_cost.csv"


def trial(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Train for each cell, a rate and a seed, until it is done."""
    torch.set_num_threads(1)
    return [train(cell["rate"], cell["seed"]) for cell in cells]


def train(rate: float, seed: int) -> dict[str, Any]:
    """One training: its epochs, and the first epoch with the best validation accuracy.

    The accuracies are shares in [0, 1], without dropout, and those of that epoch.
    """
    generator = Generator().manual_seed(seed)
    parts = split("fruits", (TRAINING, VALIDATION, TEST), generator)
    model = models.init_default(models.lenet(classes=14, dropout=rate), generator)
    trained = epochs(
        model, parts.training, generator, size=BATCH, rate=LEARNING_RATE, most=MOST_EPOCHS
    )
    return train_until_done(model, parts, trained, PATIENCE)


def summary(table: pd.DataFrame) -> Iterator[list[Any]]:
    """Rows for each rate: accuracies with their spread, and the change against no dropout.

    The spread is the standard deviation over the seeds; changes are seed by seed.
    """
    by_rate = table.pivot(index="seed", columns="rate", values="test")
    for rate in by_rate:
        change = by_rate[rate] - by_rate[0.0]
        yield [
            rate,
            len(change),
            mean_and_spread(by_rate[rate]),
            mean_and_spread(change),
            int((change > 0).sum()),
            table.loc[table["rate"] == rate, "best_epoch"].median(),
        ]


def mean_and_spread(shares: pd.Series) -> str:
    """Mean ± standard deviation, in per cent."""
    return f"{100 * shares.mean():.1f} ± {100 * shares.std():.1f}"


def main(processes: int = -1) -> None:
    """Train what is missing, write the table, and print its summary.

    processes: how many at once; −1: as many as there are cores.
    """
    grid = {"seed": SEEDS, "rate": RATES}
    with joblib.parallel_config(n_jobs=processes):
        table = sweeps.run_grid(trial, grid, FOLDER, chunk=1, progress=True)
    table.to_csv(TABLE, index=False)
    head = ("rate", "seeds", "test, %", "change, %", "better than without", "best epoch")
    print_table(head, summary(table))


if __name__ == "__main__":
    main()
