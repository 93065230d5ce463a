"""What does a client lose or gain by several local steps, before it sends anything?

Clients take 1 to 20 steps of SGD on one image, or passes over four images in batches of two; three
attackers see the update. One *simulates* the training for every guess. One takes the update for
*one gradient* of unknown scale; rounds that are refused, since the update contradicts this, count
as not recovered. One reads *features*: the lowest linear layer's update is close to one product,
δ̄ūᵀ, and an image is sought with these ū under the weights before the round. The label of one image
is read, those of four are given. Images are held out from training; round k has the network of
seed k mod 2. Slow searches have six rounds, all others 24.
An image is recovered if its MSE is below 1e-2, recognisable if its SSIM is at least 0.5, clipped
to [0, 1] first. `python -m reproduce.fedavg` writes fedavg.csv (about 20 minutes of one core); an
interrupted run goes on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import pandas as pd
import torch
from torch import nn

import dlgutils as du
from dlgutils import sweeps
from reproduce.fedavg_attackers import (
    ATTACKERS,
    feature_error,
    interval,
    reconstruct,
    scores,
)
from reproduce.inputs import all_images
from reproduce.tables import COMMITTED
from reproduce.trained_networks import Training, held_out, trained

ONE_IMAGE = {
    "1 step": {"steps": 1},
    "2 steps": {"steps": 2},
    "5 steps": {"steps": 5},
    "20 steps": {"steps": 20},
}
FOUR_IMAGES = {
    "4 images, 1 step": {"steps": 1},
    "4 images, 1 pass": {"steps": 2, "batch_size": 2},
    "4 images, 3 passes": {"steps": 6, "batch_size": 2},
    "4 images, 3 shuffled passes": {"steps": 6, "batch_size": 2, "shuffle": True},
}
"""What clients do, as arguments of `Protocol`."""

RATES = [0.01, 0.1]
EVALUATIONS = {"LeNet, sigmoid": 100, "CNN": 60}
"""Of a search for one image that differentiates gradients, by network."""

FOR_FEATURES, FOR_FOUR = 150, 200
"""Evaluations of the search by features, which are cheap, and of one for four images."""

MANY, FEW = range(24), range(6)
"""Rounds of a setting, and of a slow one: of four images, or of a long or steep search."""

LENET = {"network": ["LeNet, sigmoid"], "epochs": [0]}
CNN, TRAINED = ({"network": ["CNN"], "epochs": [epochs]} for epochs in (0, 15))
SHORT, LONG = list(ONE_IMAGE)[:3], list(ONE_IMAGE)[3:]
CHEAP, DEAR = ATTACKERS[1:], ATTACKERS[:1]
EXPERIMENTS = {
    "LeNet": LENET | {"client": list(ONE_IMAGE), "attacker": ATTACKERS, "round": MANY},
    "trained CNN": TRAINED | {"client": list(ONE_IMAGE), "attacker": CHEAP, "round": MANY},
    "CNN, 20 steps": CNN | {"client": LONG, "attacker": CHEAP, "round": MANY},
    "CNN": CNN | {"client": SHORT, "attacker": ATTACKERS, "round": MANY},
    "four images": LENET | {"client": list(FOUR_IMAGES), "attacker": ATTACKERS[:2], "round": FEW},
    "trained CNN, simulated": TRAINED | {"client": SHORT, "attacker": DEAR, "round": FEW},
    "CNN, 20 steps, simulated": CNN | {"client": LONG, "attacker": DEAR, "round": FEW},
    "trained CNN, 20 steps, simulated": TRAINED | {"client": LONG, "attacker": DEAR, "round": FEW},
}
SETTING = ["network", "epochs", "client", "lr", "attacker"]
COUNTED = ("refused", "recovered", "recognisable", "labels_right")
FOLDER = Path("_build/fedavg")
TABLE = COMMITTED / "fedavg.csv"


def trial(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each round of one setting."""
    torch.set_num_threads(1)
    setting = {axis: cells[0][axis] for axis in SETTING}
    if any(cell[axis] != setting[axis] for cell in cells for axis in SETTING):
        raise ValueError("the cells of a chunk are rounds of one setting; change its size")
    numbers = [cell["round"] for cell in cells]
    secrets = [draw(setting["client"], number) for number in numbers]
    rounds = []
    for number, secret in zip(numbers, secrets, strict=True):
        model = network(setting, number)
        generator = torch.Generator().manual_seed(number)
        protocol = protocol_of(setting["client"], setting["lr"])
        orders = generator if protocol.shuffle else None
        rounds.append(du.share(model, secret, orders, protocol=protocol))
    start = process_time()
    found = reconstruct(model, rounds, secrets, setting["attacker"], evaluations_of(setting))
    seconds = (process_time() - start) / len(cells)
    rows = []
    for one, secret, shared, number in zip(found, secrets, rounds, numbers, strict=True):
        row = scores(one, secret) | {"seconds": seconds}
        row["feature_error"] = feature_error(network(setting, number), shared, secret)
        rows.append(row)
    return rows


def draw(client: str, number: int) -> du.Batch:
    """The images and labels of one round."""
    size = 1 if client in ONE_IMAGE else 4
    rows = held_out()[size * number : size * (number + 1)]
    everything = all_images("fruits")
    return du.Batch(everything.x[rows], everything.y[rows])


def network(setting: Mapping[str, Any], number: int) -> nn.Module:
    """The network before one round."""
    return trained(Training(setting["network"], seed=number % 2), setting["epochs"])


def evaluations_of(setting: Mapping[str, Any]) -> int:
    """Of the search in one setting."""
    if setting["client"] in FOUR_IMAGES:
        return FOR_FOUR
    if setting["attacker"] == "features":
        return FOR_FEATURES
    return EVALUATIONS[setting["network"]]


def protocol_of(client: str, lr: float) -> du.Protocol:
    """What the client does: a key of ONE_IMAGE or FOUR_IMAGES, and its learning rate."""
    return du.Protocol(**(ONE_IMAGE | FOUR_IMAGES)[client], lr=lr)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each setting: counts with intervals, and medians over the rounds.

    Labels of four images were given, so none of them is counted as read.
    """
    rows = []
    for setting, rounds in table.groupby(SETTING, sort=False):
        row = dict(zip(SETTING, setting, strict=True))
        images = int(rounds["images"].sum())
        row |= {"rounds": len(rounds), "images": images}
        for name in COUNTED:
            row[name] = int(rounds[name].sum())
        for name in ("recovered", "recognisable"):
            row |= interval(name, row[name], images)
        if row["client"] in FOUR_IMAGES:
            row["labels_right"] = None
        for name in ("mse", "ssim", "feature_error", "seconds"):
            row[f"median_{name}"] = rounds[name].median()
        rows.append(row)
    return pd.DataFrame(rows).astype({"labels_right": "Int64"})


def main() -> None:
    """Run what is missing, and write the table after each grid."""
    tables = []
    for name, experiment in EXPERIMENTS.items():
        grid = {axis: experiment.get(axis, RATES) for axis in [*SETTING, "round"]}
        out = FOLDER / name.replace(" ", "_")
        rounds = len(grid["round"])
        tables.append(sweeps.run_grid(trial, grid, out, chunk=rounds, progress=True))
        result = summary(pd.concat(tables))
        TABLE.write_text(result.to_csv(index=False, float_format="%.3g"), encoding="utf-8")
    shown = ["refused", "recovered", "recognisable", "labels_right", "images", "median_mse"]
    print(result[SETTING + shown].to_string(index=False, float_format="{:.2g}".format))


if __name__ == "__main__":
    main()
