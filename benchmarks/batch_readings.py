"""What does it cost to take a batch apart, and to read its linear layers?

`python -m benchmarks.batch_readings [rounds]` prints a Markdown table. A row is the median over
some rounds of the CPU time of this process on one thread, so that a busy machine changes little.
The images are those that a network has not seen, the gradients single precision.
`separation.separate` finds labels and inputs of the classifier, or says why not; `features.read`
goes on from there through the linear layers below. The trained networks are made first where
`_build/networks` lacks them.
"""

import itertools
import sys
import time
from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

import torch

from dlgutils.analytic import features, separation
from reproduce import mixing
from reproduce.inputs import all_images
from reproduce.separation import Cell, honest_round
from reproduce.tables import print_table

ROUNDS = 5
HEAD = ("network", "classes", "dropout", "labels", "images", "whole", "separate, s", "read, s")
NETWORKS = ("LeNet, sigmoid", "LeNet, ReLU", "CNN")


class Setting(NamedTuple):
    """One row of the table."""

    network: str
    epochs: int
    classes: int
    dropout: float
    known: bool  # whether the labels are given
    batch: int


def settings() -> Iterator[Setting]:
    """The rows: trained networks, more classes, and dropout."""
    for network, known, batch in itertools.product(NETWORKS, (False, True), (2, 4, 7, 10)):
        yield Setting(network, 15, 14, 0.0, known, batch)
    for known, batch in itertools.product((False, True), (2, 4, 8, 16)):
        yield Setting("LeNet, sigmoid", 0, 100, 0.0, known, batch)
    for batch in (2, 4, 8):
        yield Setting("LeNet, sigmoid", 0, 10, 0.5, False, batch)
    for batch in (16, 32):
        yield Setting("LeNet, sigmoid", 0, 100, 0.5, False, batch)


def draw(setting: Setting, seed: int) -> mixing.Secret:
    """The round of one seed."""
    if setting.dropout:
        cell = Cell(768, setting.classes, setting.dropout, setting.batch)
        one = honest_round(cell, seed, all_images("fruits").x)
        return mixing.Secret(one.model, one.shared, one.secret.y, one.secret.x)
    return mixing.draw(
        network=setting.network,
        images="fruits",
        classes=setting.classes,
        epochs=setting.epochs,
        batch=setting.batch,
        dtype="float32",
        seed=seed,
    )


def seconds(setting: Setting, seed: int) -> tuple[bool, float, float]:
    """Whether all images were read, and the CPU seconds of both readings; NaN for one not made."""
    secret = draw(setting, seed)
    start = time.process_time()
    found = separation.separate(secret.model, secret.shared, y=secret.y if setting.known else None)
    middle = time.process_time()
    if found.reason:
        return False, middle - start, float("nan")
    features.read(secret.model, secret.shared, found.reading)
    return True, middle - start, time.process_time() - middle


def row(setting: Setting, rounds: int) -> tuple[object, ...]:
    """What a setting takes, after some rounds."""
    measured = [seconds(setting, seed) for seed in range(rounds)]
    whole, apart, down = zip(*measured, strict=True)
    read = [each for each in down if each == each]
    network = f"{setting.network}, {setting.epochs} epochs"
    labels = "given" if setting.known else "found"
    of_reading = median(read) if read else "–"
    count = f"{sum(whole)} of {rounds}"
    head = (network, setting.classes, setting.dropout, labels, setting.batch, count)
    return *head, median(apart), of_reading


def main(rounds: str = str(ROUNDS)) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one CPU thread, medians of {rounds} rounds\n")
    print_table(HEAD, (row(setting, int(rounds)) for setting in settings()))


if __name__ == "__main__":
    main(*sys.argv[1:])
