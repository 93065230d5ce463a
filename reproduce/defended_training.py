"""What a defence costs: networks really trained under it, five seeds, until they are done.

A LeNet with ReLU learns fruits (14 classes) or Fashion-MNIST (the 200 embedded images, 10 classes)
from updates on 50 images, each of which goes through the defence before the server gives it to
Adam. Every seed splits the images anew and draws first weights, batches, masks and noise; seed for
seed, all defences have the same images and the same first weights. Training ends once the best
validation accuracy is PATIENCE epochs old; the test accuracy is that of the epoch which had it
first. DP-SGD spends its ε in a number of epochs that is fixed beforehand, by the accountant of
Opacus with δ = 1e-3, and its last network is the one that is kept; there is no DP-SGD on the 120
images of Fashion-MNIST.

`python -m reproduce.defended_training` writes defended_training.csv: about an hour of one core.
Finished trainings, and their networks, are kept in _build/defended_training, so an interrupted run
goes on. Soteria is not here: it needs the derivatives of 768 features for each image of each step.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import pandas as pd
import torch
from torch import Generator, nn

from dlgutils import models, sweeps
from dlgutils.federated import defenses, dp_sgd
from dlgutils.federated.defenses import Defense
from reproduce.early_stopping import Split, accuracy, epochs, split, train_until_done
from reproduce.inputs import count_classes
from reproduce.tables import COMMITTED, print_table

SEEDS = range(5)
SIZES = {"fruits": (800, 200, 393), "fashion": (120, 40, 40)}
"""Images for training, validation and test."""
BATCH, LEARNING_RATE, PATIENCE, MOST_EPOCHS = 50, 1e-3, 40, 1000
PRIVATE_BATCH, PRIVATE_RATE, PRIVATE_EPOCHS, CLIP, DELTA = 100, 3e-3, 40, 1.0, 1e-3
FOLDER = Path("_build/defended_training")
TABLE = COMMITTED / "defended_training.csv"


class Setting(NamedTuple):
    """One way to protect a client."""

    defenses: tuple[Defense, ...] = ()
    rate: float = 0.0  # of dropout before the classifier
    epsilon: float | None = None  # of DP-SGD


SETTINGS = {
    "none": Setting(),
    "dropout 0.5": Setting(rate=0.5),
    "dropout 0.9": Setting(rate=0.9),
    "noise 0.001": Setting((defenses.noise(1e-3),)),
    "noise 0.01": Setting((defenses.noise(1e-2),)),
    "noise 0.1": Setting((defenses.noise(1e-1),)),
}
"""Defences by name; those of DP-SGD are called after their ε."""
EPSILONS = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.5)
SETTINGS |= {f"ε = {epsilon:g}": Setting(epsilon=epsilon) for epsilon in EPSILONS}
SETTINGS |= {
    "largest 10 %": Setting((defenses.top_k(0.1),)),
    "largest 1 %": Setting((defenses.top_k(0.01),)),
    "largest 0.1 %": Setting((defenses.top_k(0.001),)),
    "random 10 %": Setting((defenses.prune_random(0.1),)),
    "signs": Setting((defenses.sign(),)),
    "4 bits": Setting((defenses.quantized(4),)),
    "8 bits": Setting((defenses.quantized(8),)),
    "half precision": Setting((defenses.half_precision(),)),
    "clip 0.1": Setting((defenses.clip(0.1),)),
}


def trial(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Train for each cell: images, a defence and a seed."""
    torch.set_num_threads(1)
    return [train(cell["images"], cell["defense"], cell["seed"]) for cell in cells]


def train(images: str, name: str, seed: int) -> dict[str, Any]:
    """One training: a row of the table; its network is kept."""
    setting = SETTINGS[name]
    generator = Generator().manual_seed(seed)
    parts = split(images, SIZES[images], generator)
    model = models.init_default(network(images, setting.rate), generator)
    if setting.epsilon is None:
        trained = epochs(
            model,
            parts.training,
            generator,
            setting.defenses,
            size=BATCH,
            rate=LEARNING_RATE,
            most=MOST_EPOCHS,
        )
        row = train_until_done(model, parts, trained, PATIENCE)
        row |= {"noise_multiplier": None, "spent": None}
    else:
        row = train_privately(model, parts, setting.epsilon, generator)
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), kept_network(images, name, seed))
    return row


def network(images: str, rate: float = 0.0) -> nn.Module:
    """The LeNet of all trainings, before its weights are drawn."""
    shape = (1, 28, 28) if images == "fashion" else (3, 32, 32)
    return models.lenet(shape, count_classes(images), dropout=rate, activation=nn.ReLU)


def kept_network(images: str, name: str, seed: int) -> Path:
    """Where the weights of a training are."""
    return FOLDER / f"{images}, {name}, {seed}.pt"


def train_privately(
    model: nn.Module, parts: Split, epsilon: float, generator: Generator
) -> dict[str, Any]:
    """DP-SGD: a row of the table; the model gets the weights of the last epoch."""
    adam = partial(torch.optim.Adam, lr=PRIVATE_RATE)
    found = dp_sgd.train(
        model,
        parts.training,
        generator,
        epochs=PRIVATE_EPOCHS,
        batch_size=PRIVATE_BATCH,
        noise_multiplier=noise_multiplier(epsilon),
        delta=DELTA,
        max_grad_norm=CLIP,
        optimizer=adam,
    )
    model.load_state_dict(found.model.state_dict())
    return {
        "epochs": PRIVATE_EPOCHS,
        "best_epoch": PRIVATE_EPOCHS,
        "validation": accuracy(model, parts.validation),
        "test": accuracy(model, parts.test),
        "noise_multiplier": round(found.noise_multiplier, 4),
        "spent": round(found.epsilon, 4),
    }


@cache
def noise_multiplier(epsilon: float) -> float:
    """The noise of DP-SGD in units of CLIP, of which a training spends this ε."""
    steps = PRIVATE_EPOCHS * SIZES["fruits"][0] // PRIVATE_BATCH
    rate = PRIVATE_BATCH / SIZES["fruits"][0]
    return dp_sgd.noise_multiplier_for(epsilon, delta=DELTA, sample_rate=rate, steps=steps)


def summary(table: pd.DataFrame) -> Iterator[list[Any]]:
    """A row for each set and defence: the accuracy with its spread over the seeds."""
    for (images, name), rows in table.groupby(["images", "defense"], sort=False):
        mean, spread = 100 * rows["test"].mean(), 100 * rows["test"].std()
        yield [images, name, len(rows), f"{mean:.1f} ± {spread:.1f}", rows["best_epoch"].median()]


def main(processes: int = 1) -> None:
    """Train what is missing, write the table, and print its summary."""
    public = [name for name, setting in SETTINGS.items() if setting.epsilon is None]
    tables = []
    with joblib.parallel_config(n_jobs=processes):
        for images, names in (("fruits", list(SETTINGS)), ("fashion", public)):
            for name in names:
                grid = {"images": [images], "defense": [name], "seed": SEEDS}
                folder = FOLDER / f"{images}, {name}"
                tables.append(sweeps.run_grid(trial, grid, folder, chunk=1, progress=True))
    table = pd.concat(tables)
    table.to_csv(TABLE, index=False)
    print_table(("images", "defence", "seeds", "test, %", "best epoch"), summary(table))


if __name__ == "__main__":
    main()
