"""What comes back from a client of Flower's quick start after one local epoch, or five?

The network is the quick start's, without training, on images normalised to [-1, 1]; the client
trains as there, with SGD at 0.01 and momentum 0.9. Small clients take one step in an epoch, others
two. One attacker *simulates* the training for every guess. One matches *features*: one image's are
read off the update, those of eight images in one step are told apart first; those that are not
told apart count as not found. A third counts *labels* only, by the rule for untrained networks.
To the simulation, the labels of several images are given; all other labels are read. Images are
held out; round k has the network of seed k mod 2.

An image is recovered if its MSE is below 1e-2, recognisable if its SSIM is at least 0.5, clipped
to [0, 1] first. `python -m reproduce.quick_start` writes quick_start.csv (about ten minutes of one
core); an interrupted run goes on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import pandas as pd
import torch
from torch import Generator, nn

import dlgutils as du
from dlgutils import attacks, metrics, models, sweeps
from dlgutils.analytic import features, label_counts
from dlgutils.types import Shared
from reproduce.fedavg_attackers import interval, reconstruct, scores
from reproduce.inputs import all_images
from reproduce.other_networks import QuickStart
from reproduce.tables import COMMITTED
from reproduce.trained_networks import held_out

CLASSES = 14
CLIENTS = {
    "1 image, 1 step": (1, {"steps": 1}),
    "1 image, 5 epochs": (1, {"steps": 5}),
    "8 images, 1 step": (8, {"steps": 1}),
    "8 images, 2 steps": (8, {"steps": 2, "batch_size": 4}),
}
"""Images of a client, and what it does in an epoch, as arguments of `Protocol`."""

FOR_ONE, FOR_EIGHT, FOR_FEATURES = 300, 200, 300
"""Evaluations of a simulating search for one image and for eight, and of one by features."""

MANY, FEW = range(24), range(6)
"""Rounds of a setting, and of a simulated one of eight images, which is slow."""

EXPERIMENTS = {
    "labels": {"client": list(CLIENTS), "attacker": ["labels"], "round": MANY},
    "features": {"client": list(CLIENTS)[::2], "attacker": ["features"], "round": MANY},
    "one image": {"client": list(CLIENTS)[:2], "attacker": ["simulates"], "round": MANY},
    "eight images": {"client": list(CLIENTS)[2:], "attacker": ["simulates"], "round": FEW},
}
SETTING = ["client", "attacker"]
COUNTED = ("recovered", "recognisable", "labels_right")
FOLDER = Path("_build/quick_start")
TABLE = COMMITTED / "quick_start.csv"


def network(number: int) -> nn.Module:
    """The network before one round, which takes images in [0, 1]."""
    model = models.normalised(QuickStart(CLASSES), (0.5,) * 3, (0.5,) * 3)
    return models.init_default(model, Generator().manual_seed(number % 2))


def draw(client: str, number: int) -> du.Batch:
    """The images and labels of one round."""
    size, _ = CLIENTS[client]
    rows = held_out()[size * number : size * (number + 1)]
    everything = all_images("fruits")
    return du.Batch(everything.x[rows], everything.y[rows])


def protocol_of(client: str) -> du.Protocol:
    """What the client does, a key of CLIENTS."""
    _, steps = CLIENTS[client]
    return du.Protocol(**steps, lr=0.01, momentum=0.9)


def trial(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each round of one setting."""
    torch.set_num_threads(1)
    client, attacker = cells[0]["client"], cells[0]["attacker"]
    numbers = [cell["round"] for cell in cells]
    secrets = [draw(client, number) for number in numbers]
    protocol = protocol_of(client)
    rounds = []
    for number, secret in zip(numbers, secrets, strict=True):
        rounds.append(du.share(network(number), secret, protocol=protocol))
    start = process_time()
    rows = score_all(rounds, secrets, attacker)
    seconds = (process_time() - start) / len(cells)
    return [row | {"seconds": seconds} for row in rows]


def score_all(
    rounds: Sequence[Shared], secrets: Sequence[du.Batch], attacker: str
) -> list[dict[str, Any]]:
    """What one attacker finds in each round, counted."""
    model = network(0)
    if attacker == "labels":
        pairs = zip(rounds, secrets, strict=True)
        return [score_labels(shared, secret) for shared, secret in pairs]
    if attacker == "features":
        pairs = zip(rounds, secrets, strict=True)
        return [score_features(model, shared, secret) for shared, secret in pairs]
    evaluations = FOR_ONE if len(secrets[0].x) == 1 else FOR_EIGHT
    found = reconstruct(model, rounds, secrets, attacker, evaluations)
    return [scores(one, secret) for one, secret in zip(found, secrets, strict=True)]


def score_labels(shared: Shared, secret: du.Batch) -> dict[str, Any]:
    """How many labels the counting rule for untrained networks finds; no images."""
    bias = shared.classifier[1]
    total = len(secret.x) * shared.gradient[bias] / growth(shared.protocol)
    counts = label_counts.of_untrained(total, shared.weights[bias], len(secret.x))
    true = torch.bincount(secret.y, minlength=shared.classes)
    row = scores(None, secret)
    return row | {"refused": 0, "labels_right": int(torch.minimum(counts, true).sum())}


def growth(protocol: du.Protocol) -> float:
    """By how much momentum lengthens the update: the mean of 1, 1 + μ, ... over the steps."""
    velocities = [sum(protocol.momentum**k for k in range(n + 1)) for n in range(protocol.steps)]
    return sum(velocities) / protocol.steps


def score_features(model: nn.Module, shared: Shared, secret: du.Batch) -> dict[str, Any]:
    """The images of one round that a search for each one's features finds."""
    try:
        alone = features.split(model, shared) if len(secret.x) > 1 else [shared]
    except ValueError:
        alone = []
    if not alone:
        return scores(None, secret)
    result = du.invert(model, alone, attacks.features, steps=FOR_FEATURES, frames=1)
    x = torch.full_like(secret.x, torch.nan)
    x[: len(alone)] = result.x[:, 0]
    shown = metrics.align(x.nan_to_num(), secret.x)
    counts = scores(du.Batch(shown, secret.y), secret)
    read = torch.bincount(result.y[:, 0], minlength=CLASSES)
    true = torch.bincount(secret.y, minlength=CLASSES)
    return counts | {"labels_right": int(torch.minimum(read, true).sum())}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each setting: counts with intervals, and medians over the rounds.

    Empty is what was not sought: images by the counting rule, and labels that were given.
    """
    rows = []
    for setting, rounds in table.groupby(SETTING, sort=False):
        row = dict(zip(SETTING, setting, strict=True))
        images = int(rounds["images"].sum())
        row |= {"rounds": len(rounds), "images": images, "refused": int(rounds["refused"].sum())}
        for name in COUNTED:
            row |= dict.fromkeys((name, f"{name}_low", f"{name}_high"))
        sought = COUNTED
        if row["attacker"] == "labels":
            sought = ("labels_right",)
        elif row["attacker"] == "simulates" and images > len(rounds):
            sought = ("recovered", "recognisable")
        for name in sought:
            row[name] = int(rounds[name].sum())
            row |= interval(name, row[name], images)
        for name in ("mse", "ssim", "seconds"):
            row[f"median_{name}"] = rounds[name].median()
        rows.append(row)
    return pd.DataFrame(rows).astype(dict.fromkeys(COUNTED, "Int64"))


def main() -> None:
    """Run what is missing, and write the table after each grid."""
    tables = []
    for name, grid in EXPERIMENTS.items():
        out, rounds = FOLDER / name.replace(" ", "_"), len(grid["round"])
        tables.append(sweeps.run_grid(trial, grid, out, chunk=rounds, progress=True))
        result = summary(pd.concat(tables))
        TABLE.write_text(result.to_csv(index=False, float_format="%.3g"), encoding="utf-8")
    shown = [*SETTING, "refused", *COUNTED, "images", "median_mse"]
    print(result[shown].to_string(index=False, float_format="{:.2g}".format))


if __name__ == "__main__":
    main()
