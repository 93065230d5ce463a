"""Which labels of a batch can be counted in an update of several local steps?

A client has eight images, drawn with their labels, and passes over them once or more in batches of
four. The attacker sees the update of the classifier's bias, the mean of δ over the steps, and has
three rules: `label_counts.lower_bounds`; `label_counts.of_untrained`, which takes the probabilities
for those of the bias before the round; and a *simulation*, after the idea of RLU (arXiv:2405.00955)
but without its images: the training is repeated with noise for images, and the counts are mended by
what is missing from the update. Rounds 0 to 23 are reported; the simulation was tried on others.
`python -m reproduce.fedavg_labels` writes fedavg_labels.csv (about three minutes of one core).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Generator, Tensor, nn

import dlgutils as du
from dlgutils import federated, metrics, sweeps
from dlgutils.analytic import label_counts
from dlgutils.types import Guess, Shared
from reproduce.inputs import all_images
from reproduce.tables import COMMITTED
from reproduce.trained_networks import Training, held_out, trained

CLIENTS = {
    "1 step": {},
    "1 pass": {"steps": 2, "batch_size": 4},
    "3 passes": {"steps": 6, "batch_size": 4, "shuffle": True},
    "10 passes": {"steps": 20, "batch_size": 4, "shuffle": True},
}
"""What clients do, as arguments of `Protocol`."""

BATCH, REPAIRS = 8, 10
"""Images of a client, and how often the simulation is repeated with mended counts."""

ALWAYS = {"client": list(CLIENTS), "lr": [0.01, 0.1], "number": range(24)}
GRIDS = {
    "LeNet": {"network": ["LeNet, sigmoid"], "epochs": [0]} | ALWAYS,
    "CNN": {"network": ["CNN"], "epochs": [0, 15]} | ALWAYS,
}
RULES = ("lower_bounds", "of_untrained", "simulated")
SETTING = ["network", "epochs", "client", "lr"]
FOLDER = Path("_build/fedavg_labels")
TABLE = COMMITTED / "fedavg_labels.csv"


def trial(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How many labels of each round are counted rightly, by each rule."""
    torch.set_num_threads(1)
    return [measure(**cell) for cell in cells]


def measure(*, network: str, epochs: int, client: str, lr: float, number: int) -> dict[str, int]:
    """The labels of one round that each rule counts rightly.

    Args:
        network: one of `trained_networks.NETWORKS`.
        epochs: how long it was trained.
        client: a key of CLIENTS.
        lr: its learning rate.
        number: of the round; draws the images; even and odd ones have a network each.
    """
    generator = Generator().manual_seed(number)
    held = held_out()
    chosen = held[torch.randint(len(held), (BATCH,), generator=generator)]
    everything = all_images("fruits")
    secret = du.Batch(everything.x[chosen], everything.y[chosen])
    model = trained(Training(network, seed=number % 2), epochs)
    protocol = du.Protocol(**CLIENTS[client], lr=lr)
    orders = generator if protocol.shuffle else None
    shared = du.share(model, secret, orders, protocol=protocol)
    noise = torch.rand(secret.x.shape, generator=generator)
    true = torch.bincount(secret.y, minlength=shared.classes)
    found = counts(model, shared, noise)
    return {rule: int(torch.minimum(found[rule], true).sum()) for rule in RULES}


def counts(model: nn.Module, shared: Shared, noise: Tensor) -> dict[str, Tensor]:
    """How many images of each class there are by each rule, (classes,) int64.

    noise: images for the simulation, (batch, channels, height, width).
    """
    bias = shared.classifier[1]
    total = len(noise) * shared.gradient[bias]
    first = label_counts.of_untrained(total, shared.weights[bias], len(noise))
    return {
        "lower_bounds": label_counts.lower_bounds(total),
        "of_untrained": first,
        "simulated": simulated(model, shared, noise, first),
    }


def simulated(model: nn.Module, shared: Shared, noise: Tensor, first: Tensor) -> Tensor:
    """The counts, (classes,), whose simulated training comes closest to the update of the bias.

    Args:
        model: the network.
        shared: one round.
        noise: images, (batch, channels, height, width).
        first: the counts to begin with, (classes,).
    """
    observed = shared.gradient[shared.classifier[1]]
    counts, closest, least = first, first, float("inf")
    for _ in range(REPAIRS):
        missing = bias_update(model, shared, noise, counts) - observed
        if float(missing.norm()) < least:
            closest, least = counts, float(missing.norm())
        mended = whole(counts + len(noise) * missing, len(noise))
        if mended.equal(counts):
            break
        counts = mended
    return closest


def bias_update(model: nn.Module, shared: Shared, noise: Tensor, counts: Tensor) -> Tensor:
    """The update of the classifier's bias, (classes,), if images of noise had these labels."""
    y = torch.arange(len(counts)).repeat_interleave(counts)
    y = y[torch.randperm(len(y), generator=Generator().manual_seed(0))]
    update = federated.update(shared.weights, model, Guess(noise, y), shared.protocol)
    return update[shared.classifier[1]]


def whole(numbers: Tensor, total: int) -> Tensor:
    """Whole numbers from 0 on, close to these, that sum to `total`: (classes,) int64."""
    counts = numbers.clamp(min=0).floor().long()
    while counts.sum() < total:
        counts[(numbers - counts).argmax()] += 1
    while counts.sum() > total:
        spare = torch.where(counts > 0, numbers - counts, torch.inf)
        counts[spare.argmin()] -= 1
    return counts


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each setting: labels counted rightly, and rounds without an error, by rule."""
    rows = []
    for setting, rounds in table.groupby(SETTING, sort=False):
        row = dict(zip(SETTING, setting, strict=True))
        row |= {"rounds": len(rounds), "labels": BATCH * len(rounds)}
        for rule in RULES:
            rate = metrics.success_rate(torch.tensor((rounds[rule] == BATCH).to_numpy()))
            row |= {f"{rule}_labels": rounds[rule].sum(), f"{rule}_rounds": rate.successes}
            row |= {f"{rule}_rounds_low": rate.low, f"{rule}_rounds_high": rate.high}
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    """Run what is missing, and write the table after each grid."""
    tables = []
    for name, grid in GRIDS.items():
        tables.append(sweeps.run_grid(trial, grid, FOLDER / name, chunk=24, progress=True))
        result = summary(pd.concat(tables))
        TABLE.write_text(result.to_csv(index=False, float_format="%.3g"), encoding="utf-8")
    shown = [f"{rule}_{what}" for rule in RULES for what in ("labels", "rounds")]
    print(result[[*SETTING, *shown, "labels"]].to_string(index=False))


if __name__ == "__main__":
    main()
