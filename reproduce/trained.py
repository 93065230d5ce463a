"""What a network gives away while it is trained: a search, its features, and the closed form.

Networks of several seeds, after 0 to 80 epochs, attacked on images that they have not seen, one
image a round; no image is chosen. An image is *recovered* if its MSE is below 1e-2 in [0, 1] units,
*recognisable* if its SSIM is at least 0.5, *identified* if the reconstruction is nearer to it than
to every other image of the set; reconstructions are clipped to [0, 1] first. The closed form is for
networks without pooling. Seconds are those of one processor.

`python -m reproduce.trained` runs what is missing, on all cores, and writes trained.csv after each
block of images, so the table grows: first every row has one block of each of three seeds, then two,
and so on, up to forty images of each seed: some four hours of one core. Each attack's own row is
kept in trained_runs.csv beside this file, from which an interrupted run goes on.
`python -m reproduce.trained fruits CIFAR10` takes these sets instead of the embedded ones, the
second from torchvision.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import joblib
import pandas as pd
import torch
from torch import Tensor, nn

import dlgutils as du
from dlgutils import attacks, metrics
from dlgutils.analytic import closed_form
from dlgutils.storage import write_atomic
from reproduce.dropout_cells import check_complete
from reproduce.inputs import all_images, one_image
from reproduce.tables import COMMITTED
from reproduce.trained_networks import Training, accuracy, held_out, trained

RUNS = Path(__file__).with_name("trained_runs.csv")
"""A row for each attack on an image; the table has one for each setting."""
TABLE = COMMITTED / "trained.csv"
EPOCHS = (0, 1, 3, 10, 30, 80)
SEEDS = (0, 1, 2)
IMAGES = 40
"""Of each seed; its own ones, as far as the set has them."""
RECOVERED, RECOGNISABLE = 1e-2, 0.5
"""Below this MSE, and from this SSIM."""

SEARCHES = {"iDLG": attacks.idlg, "features": attacks.features}
EVALUATIONS = {"LeNet, sigmoid": 400, "LeNet, ReLU": 400, "CNN": 300}
"""Of a search, by network."""

PAIRS = (
    ("features", "CNN"),
    ("iDLG", "LeNet, sigmoid"),
    ("features", "LeNet, sigmoid"),
    ("iDLG", "LeNet, ReLU"),
    ("features", "LeNet, ReLU"),
    ("iDLG", "CNN"),
    ("closed form", "LeNet, sigmoid"),
    ("closed form", "LeNet, ReLU"),
)
"""Attacks with the networks that they are for, in the order in which they run."""


class Block(NamedTuple):
    """Some images of one seed, under one attack on one network."""

    attack: str
    network: str
    images: str
    epochs: int
    seed: int
    number: int  # of the block

    @property
    def rows(self) -> list[int]:
        """The numbers of its images among those of the seed."""
        size = size_of_block(self.attack, self.network)
        return list(range(size * self.number, size * (self.number + 1)))


def size_of_block(attack: str, network: str) -> int:
    """How many images of one seed are attacked before the next one's: the closed form is slow."""
    if attack != "closed form":
        return 8
    return 2 if network == "LeNet, ReLU" else 4


def blocks(sets: Sequence[str]) -> Iterator[Block]:
    """All blocks, in the order in which the table grows."""
    everything = product(range(IMAGES), PAIRS, sets, SEEDS, EPOCHS)
    for number, (attack, network), images, seed, epochs in everything:
        if number < IMAGES // size_of_block(attack, network):
            yield Block(attack, network, images, epochs, seed, number)


def measured(block: Block) -> pd.DataFrame:
    """A row for each image of a block."""
    torch.set_num_threads(1)
    model = trained(Training(block.network, block.images, seed=block.seed), block.epochs)
    everything = all_images(block.images)
    rows = held_out(block.images)
    secrets = []
    for k in [IMAGES * block.seed + row for row in block.rows]:
        secrets.append(one_image(everything, int(rows[k % len(rows)])))
    shared = [du.share(model, secret) for secret in secrets]
    begin = time.process_time()
    found = reconstruct(block.attack, model, shared, EVALUATIONS[block.network])
    seconds = (time.process_time() - begin) / len(secrets)
    pairs_of_batches = zip(found, secrets, strict=True)
    table = pd.DataFrame([scores(one, secret, everything.x) for one, secret in pairs_of_batches])
    for position, (column, value) in enumerate(block._asdict().items()):
        table.insert(position, column, value)
    table.insert(len(block), "image", block.rows)
    return table.assign(
        seconds=seconds,
        seen_accuracy=accuracy(model, block.images, seen=True),
        held_out_accuracy=accuracy(model, block.images),
    )


def reconstruct(
    attack: str, model: nn.Module, shared: Sequence[du.Shared], evaluations: int
) -> list[du.Batch]:
    """What an attack makes of each round of one image; grey, of class −1, if it refuses the round.

    attack: a key of SEARCHES, or "closed form". evaluations: of a search. A network that is certain
    of an image may leave no δ in single precision, so that no label can be read.
    """
    try:
        return _reconstruct(attack, model, shared, evaluations)
    except ValueError:
        if len(shared) > 1:
            found = [reconstruct(attack, model, [one], evaluations) for one in shared]
            return [batch for (batch,) in found]
        grey = torch.full(shared[0].x_shape, 0.5)
        return [du.Batch(grey, torch.tensor([-1]))]


def _reconstruct(
    attack: str, model: nn.Module, shared: Sequence[du.Shared], evaluations: int
) -> list[du.Batch]:
    if attack == "closed form":
        found = [closed_form.recover(model, one) for one in shared]
        return [du.Batch(one.x, one.y) for one in found]
    result = du.invert(model, shared, SEARCHES[attack], steps=evaluations, frames=1)
    check_complete(result)
    return [du.Batch(x, y) for x, y in zip(result.x, result.y, strict=True)]


def scores(found: du.Batch, secret: du.Batch, images: Tensor) -> dict[str, float | int]:
    """The scores of one reconstruction, clipped to [0, 1]."""
    shown = found.x.nan_to_num().clamp(0, 1)
    return {
        "mse": metrics.mse(shown, secret.x).item(),
        "ssim": metrics.ssim(shown, secret.x).item(),
        "identified": int(metrics.identified(shown, secret.x, images)),
        "label_right": int(found.y == secret.y),
    }


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each setting: how many images of how many seeds, counts, intervals and medians."""
    settings = ["images", "network", "attack", "epochs"]
    rows = []
    for setting, runs in table.groupby(settings):
        counts = {
            "recovered": runs["mse"] < RECOVERED,
            "recognisable": runs["ssim"] >= RECOGNISABLE,
            "identified": runs["identified"] == 1,
            "labels_right": runs["label_right"] == 1,
        }
        row = dict(zip(settings, setting, strict=True))
        row |= {"seeds": runs["seed"].nunique(), "runs": len(runs)}
        for name, hits in counts.items():
            rate = metrics.success_rate(torch.tensor(hits.to_numpy()))
            row |= {name: rate.successes, f"{name}_low": rate.low, f"{name}_high": rate.high}
        for column in ("mse", "ssim", "seconds"):
            row[f"median_{column}"] = runs[column].median()
        for column in ("seen_accuracy", "held_out_accuracy"):
            row[column] = runs[column].mean()
        rows.append(row)
    return pd.DataFrame(rows)


def kept() -> pd.DataFrame:
    """The rows of earlier runs."""
    if RUNS.exists():
        return pd.read_csv(RUNS)
    return pd.DataFrame(columns=Block._fields)


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table, whole or not at all."""
    content = table.to_csv(index=False, float_format="%.5g", lineterminator="\n")
    write_atomic(path, content.encode())


def main(*sets: str) -> None:
    """Run what is missing, on all cores, and write both tables after each block.

    sets: of images, fruits and Fashion-MNIST if none is named.
    """
    runs = kept()
    finished = set(runs[list(Block._fields)].itertuples(index=False, name=None))
    missing = [block for block in blocks(sets or ("fruits", "fashion")) if block not in finished]
    parallel = joblib.Parallel(n_jobs=-1, return_as="generator_unordered")
    for table in parallel(joblib.delayed(measured)(block) for block in missing):
        runs = pd.concat([runs, table]) if len(runs) else table
        runs = runs.sort_values([*Block._fields, "image"])
        write(runs, RUNS)
        write(summary(runs), TABLE)
        print(*table.iloc[0][list(Block._fields)], flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
