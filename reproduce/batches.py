"""What of the images of a batch comes back, with and without dropout, by attackers who know more and more?

Round k has seed k, which draws photographs, labels, the weights of a sigmoid LeNet (PyTorch's default) and masks. All
attackers are given the labels; images are matched with the truth by the Hungarian method and clipped to [0, 1].
`python -m reproduce.batches` writes tables/batches.csv (about 15 minutes).
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call
from tqdm.auto import tqdm

import dlgutils as du
from dlgutils import attacks, metrics, models, sweeps
from dlgutils.analytic import masks
from dlgutils.types import Candidate
from reproduce.recovery import pool

COLUMNS = (
    "p",
    "attacker",
    "batch",
    "rounds",
    "evaluations",
    "median_mse",
    "below_1e-2",
    "below_1e-3",
    "images",
)
SIZES = MappingProxyType({2: 6, 4: 6, 8: 4})  # rounds by batch
TABLE = Path(sweeps.__file__).parent / "tables" / "batches.csv"
KINDS = {
    "no dropout": 0.0,
    "eval mode": 0.5,
    "labels and masks": 0.5,
    "labels, masks and features": 0.5,
}
"""What an attacker knows, and the rate of the dropout that it faces."""


class Round(NamedTuple):
    """One honest round."""

    model: nn.Module
    shared: du.Shared
    secret: du.Batch


def honest_round(batch: int, p: float, seed: int) -> Round:
    """The round of one seed."""
    gen, photos = Generator().manual_seed(seed), pool("photos")
    x = photos.x[torch.randperm(len(photos.x), generator=gen)[:batch]]
    secret = du.Batch(x, torch.randint(12, (batch,), generator=gen))
    model = models.init_default(models.lenet(dropout=p), gen)
    return Round(model, du.share(model, secret, gen), secret)


def certain(model: nn.Module, shared: du.Shared) -> masks.Reading:
    """The reading of a batch that comes apart."""
    separation = separation.separate(model, shared)
    assert separation.reading, separation.why
    return separation.reading


def labels_given(rounds: Sequence[Round]) -> du.Attack:
    """iDLG by who was told the labels, and takes the network as it is in eval mode."""
    labels = {id(r.shared): r.secret.y for r in rounds}
    return replace(attacks.idlg, read=lambda _, shared: {"y": labels[id(shared)]})


def masks_read(model: nn.Module, shared: du.Shared) -> dict[str, Tensor]:
    """Labels and masks as the separation tells them."""
    reading = certain(model, shared)
    return {"y": reading.y, **reading.masks}


def features_read(model: nn.Module, shared: du.Shared) -> du.Attack:
    """iDLG with labels and masks read, which also draws each image to one whose features are those that were read."""
    reading = certain(model, shared)
    body = {
        name.removeprefix("body."): w
        for name, w in shared.weights.items()
        if name.startswith("body.")
    }
    (mask,) = reading.masks.values()

    def distance(candidate: Candidate) -> Tensor:
        features = functional_call(model.body, body, (candidate.x,)).flatten(1) * mask
        return ((features - reading.features) ** 2).sum() / (reading.features**2).sum()

    return replace(attacks.idlg, read=masks_read, prior=distance)


def reconstruct(knows: str, rounds: Sequence[Round], steps: int) -> Tensor:
    """The images that one kind of attacker finds: (rounds, batch, channels, height, width) in [0, 1]."""
    model, seeds = rounds[0].model, range(len(rounds))
    if knows == "labels, masks and features":
        alone = [
            du.invert(*r[:2], features_read(*r[:2]), [seed], steps=steps).x
            for seed, r in enumerate(rounds)
        ]
        return torch.cat(alone).clamp(0, 1)
    attack = (
        replace(attacks.idlg, read=masks_read)
        if knows == "labels and masks"
        else labels_given(rounds)
    )
    return du.invert(model, [r.shared for r in rounds], attack, seeds, steps=steps).x.clamp(0, 1)


def row(knows: str, batch: int, seeds: Sequence[int], steps: int) -> dict[str, object]:
    """What came of all rounds of one attacker and batch size, a round for each seed."""
    honest = [honest_round(batch, KINDS[knows], seed) for seed in seeds]
    found = reconstruct(knows, honest, steps)
    mse = torch.cat(
        [
            metrics.mse(metrics.align(x, r.secret.x), r.secret.x)
            for x, r in zip(found, honest, strict=True)
        ]
    )
    counts = [int((mse < threshold).sum()) for threshold in (1e-2, 1e-3)]
    cells = (
        KINDS[knows],
        knows,
        batch,
        len(honest),
        steps,
        f"{mse.median():.1e}",
        *counts,
        len(mse),
    )
    return dict(zip(COLUMNS, cells, strict=True))


def main(sizes: Mapping[int, int] = SIZES, steps: int = 400) -> None:
    """Write the whole table; sizes: {batch: rounds}."""
    torch.set_num_threads(1)
    TABLE.parent.mkdir(exist_ok=True)
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for (batch, rounds), knows in tqdm(list(product(sizes.items(), KINDS)), desc="batches"):
            writer.writerow(row(knows, batch, range(rounds), steps))
            file.flush()


if __name__ == "__main__":
    main()
