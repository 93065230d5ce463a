"""Does BatchNorm in train mode hide an image, and do its running statistics betray it?

A LeNet with BatchNorm after each convolution (`norm_lenet`) gets one image, or four whose labels
are given. In *eval mode* its statistics are fixed and known. In *train mode* they are those of the
batch, and an attacker computes them anew for every guess, by `models.batch_statistics`; one who
*takes it for eval mode* does not. If the running statistics are sent after the round, then the
batch's mean and variance in each layer follow from the momentum, and are matched beside the
gradient. Rounds 0, 1, … are reported; WEIGHT was chosen on others.
`python -m reproduce.batch_norm` writes batch_norm.csv (about five minutes of one core).
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import pandas as pd
import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call

import dlgutils as du
from dlgutils import attacks, federated, models, sweeps
from dlgutils.matching import objectives
from dlgutils.models.batch_norm import BatchStatistics
from dlgutils.models.modules import recorded_calls
from dlgutils.types import Comparison, Guess, Protocol, Shared, Tensors
from reproduce.fedavg_attackers import interval, scores
from reproduce.inputs import all_images, told
from reproduce.tables import COMMITTED
from reproduce.trained_networks import held_out

ATTACKERS = ["eval mode", "train mode", "statistics sent", "takes it for eval mode"]
EVALUATIONS = {1: 100, 4: 300}
"""Of a search, by batch."""

WEIGHT = 0.1
"""Of the statistics' relative error, beside that of the gradient."""

ALWAYS = {"attacker": ATTACKERS}
GRIDS = {
    "one": {"batch": [1]} | ALWAYS | {"round": range(24)},
    "four": {"batch": [4]} | ALWAYS | {"round": range(8)},
}
SETTING = ["batch", "attacker"]
FOLDER = Path("_build/batch_norm")
TABLE = COMMITTED / "batch_norm.csv"


def norm_lenet(generator: Generator) -> nn.Module:
    """The LeNet of sigmoids for (3, 32, 32) fruits with BatchNorm, untrained, in train mode."""
    layers = []
    for channels, stride in ((3, 2), (12, 2), (12, 1)):
        conv = nn.Conv2d(channels, 12, 5, stride, padding=2)
        layers += [conv, nn.BatchNorm2d(12), nn.Sigmoid()]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(768, 14))
    return models.init_default(model, generator)


def trial(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each round of one batch size and attacker."""
    torch.set_num_threads(1)
    attacker, batch = cells[0]["attacker"], cells[0]["batch"]
    everything, held = all_images("fruits"), held_out()
    secrets, clients, rounds = [], [], []
    for number in [cell["round"] for cell in cells]:
        rows = held[batch * number : batch * (number + 1)]
        secrets.append(du.Batch(everything.x[rows], everything.y[rows]))
        clients.append(norm_lenet(Generator().manual_seed(number)))
        model = fixed(clients[-1], evaluates=attacker == "eval mode")
        rounds.append(du.share(model, secrets[-1]))
    statistics = [sent_statistics(c, s.x) for c, s in zip(clients, secrets, strict=True)]
    attack = attack_of(attacker, rounds, secrets, statistics)
    model = fixed(clients[0], evaluates="eval" in attacker)
    start = process_time()
    numbers = [cell["round"] for cell in cells]
    steps = EVALUATIONS[batch]
    result = du.invert(model, rounds, attack, seeds=numbers, steps=steps, frames=1)
    seconds = (process_time() - start) / len(cells)
    found = zip(result.x, result.y, secrets, strict=True)
    return [scores(du.Batch(x, y), secret) | {"seconds": seconds} for x, y, secret in found]


def fixed(client: nn.Module, *, evaluates: bool) -> nn.Module:
    """The network whose gradient is shared, or matched; evaluates: in eval mode."""
    return copy.deepcopy(client).eval() if evaluates else models.batch_statistics(client)


def attack_of(
    attacker: str,
    rounds: Sequence[Shared],
    secrets: Sequence[du.Batch],
    statistics: Sequence[Tensors],
) -> du.Attack:
    """iDLG by one attacker, with the labels given where there are several.

    Args:
        attacker: a member of ATTACKERS.
        rounds: all that are attacked.
        secrets: whose labels are given.
        statistics: of each round, as `sent_statistics` gives them.
    """
    attack = attacks.idlg
    if len(secrets[0].y) > 1:
        attack = told(attack, rounds, [Guess(y=secret.y) for secret in secrets])
    if attacker != "statistics sent":
        return attack
    sent = {id(s.like): tensors for s, tensors in zip(rounds, statistics, strict=True)}
    compare = Comparison(
        with_statistics, lambda _, shared: {**shared.gradient, **sent[id(shared.like)]}
    )
    return replace(attack, compare=compare, distance=both_errors)


def sent_statistics(client: nn.Module, x: Tensor) -> Tensors:
    """Mean and variance of a batch in each BatchNorm layer, from its running statistics.

    They are read as a server does: (after − (1 − momentum) · before) / momentum.
    """
    before = dict(client.named_buffers())
    trained = copy.deepcopy(client)
    with torch.no_grad():
        trained(x)
    found = {}
    for name, layer in trained.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            for kind in ("running_mean", "running_var"):
                key = f"{name}.{kind}"
                old = (1 - layer.momentum) * before[key]
                found[key] = (getattr(layer, kind) - old) / layer.momentum
    return found


def with_statistics(weights: Tensors, model: nn.Module, guess: Guess, _: Protocol) -> Tensors:
    """The gradient of a guess, and its mean and variance in each BatchNorm layer."""
    tensors = dict(federated.update(weights, model, guess))
    with recorded_calls(model) as calls:
        functional_call(model, dict(weights), (guess.x,))
    for call in calls:
        if isinstance(call.module, BatchStatistics):
            tensors[f"{call.name}.running_mean"] = call.input.mean((0, 2, 3))
            tensors[f"{call.name}.running_var"] = call.input.var((0, 2, 3))
    return tensors


def both_errors(guess: Tensors, target: Tensors) -> Tensor:
    """The relative squared error of the gradient, and WEIGHT times that of the statistics."""
    statistics = {name: tensor for name, tensor in target.items() if "running" in name}
    gradient = {name: tensor for name, tensor in target.items() if name not in statistics}
    error = objectives.relative_squared_error
    return error(guess, gradient) + WEIGHT * error(guess, statistics)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each setting: counts with intervals, and medians over the rounds."""
    rows = []
    for setting, rounds in table.groupby(SETTING, sort=False):
        row = dict(zip(SETTING, setting, strict=True))
        images = int(rounds["images"].sum())
        row |= {"rounds": len(rounds), "images": images}
        for name in ("recovered", "recognisable"):
            row[name] = int(rounds[name].sum())
            row |= interval(name, row[name], images)
        for name in ("mse", "ssim", "seconds"):
            row[f"median_{name}"] = rounds[name].median()
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    """Run what is missing, and write the table after each grid."""
    tables = []
    for name, grid in GRIDS.items():
        chunk = len(grid["round"])
        tables.append(sweeps.run_grid(trial, grid, FOLDER / name, chunk=chunk, progress=True))
        result = summary(pd.concat(tables))
        TABLE.write_text(result.to_csv(index=False, float_format="%.3g"), encoding="utf-8")
    shown = ["recovered", "recognisable", "images", "median_mse"]
    print(result[SETTING + shown].to_string(index=False, float_format="{:.2g}".format))


if __name__ == "__main__":
    main()
