"""How large a batch comes apart? Rounds that `separate` certifies, by dropout rate, batch, features and classes.

Round k of a cell has seed k, which draws the images, their labels (any, so some are equal), the weights (PyTorch's default)
and the masks. 768 features are those of the LeNet, 4 096 those of a fully connected layer, both behind sigmoids, and the
gradients are single precision. Beside it, the simpler rule that was there before: group parallel columns, each a unit that
survived in one image alone. `python -m reproduce.separation` writes tables/separation.csv (about 15 minutes).
"""

import csv
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from tqdm.auto import tqdm

import dlgutils as du
from dlgutils import models, sweeps
from dlgutils.analytic import masks
from reproduce.recovery import pool

COLUMNS = (
    "features",
    "classes",
    "p",
    "batch",
    "certified",
    "right",
    "parallel_columns_right",
    "rounds",
    "seconds",
)
TABLE = Path(sweeps.__file__).parent / "tables" / "separation.csv"


class Cell(NamedTuple):
    """One combination of what the size of a separable batch depends on."""

    features: int
    classes: int
    p: float
    batch: int


class Truth(NamedTuple):
    """What a separation is compared with."""

    y: Tensor  # (batch,)
    features: Tensor  # (batch, features), after dropout


def cells() -> Iterator[Cell]:
    """The whole table, except for what needs no run: more images than independent δ, one fewer than classes."""
    rates, batches = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9), (2, 4, 8, 16, 32, 64)
    for cell in map(Cell._make, product((768, 4096), (10, 100), rates, batches)):
        if cell.batch < cell.classes and (cell.p > 0 or cell.batch <= 4):
            yield cell


def honest_round(cell: Cell, seed: int, images: Tensor) -> tuple[nn.Module, du.Shared, Truth]:
    """A model, what the client shares, and what it keeps."""
    gen = Generator().manual_seed(seed)
    x = images[torch.randperm(len(images), generator=gen)[: cell.batch]]
    y = torch.randint(cell.classes, (cell.batch,), generator=gen)
    if cell.features == 768:
        model = models.lenet(classes=cell.classes, dropout=cell.p)
    else:
        model = models.mlp(hidden=(cell.features,), classes=cell.classes, dropout=cell.p)
    model = models.init_default(model, gen)
    shared = du.share(model, du.Batch(x, y), gen, reveal_masks=True)
    with torch.no_grad():
        features = model.body(x.flatten(1) if cell.features != 768 else x).flatten(1)
    for mask in shared.masks.values():
        features = features * mask
    return model, shared, Truth(y, features)


def by_parallel_columns(shared: du.Shared) -> Truth | None:
    """Labels and features by the simpler rule; None if there are too few groups of parallel columns."""
    gradient, bias = (shared.gradient[name].double() for name in ("fc.weight", "fc.bias"))
    size = gradient.norm(dim=0)
    unit = (gradient / size)[:, size > 0]
    parallel = (unit.T @ unit).abs() > 1 - 1e-9
    used, found = torch.zeros(len(parallel), dtype=torch.bool), []
    for k in parallel.sum(1).argsort(descending=True).tolist():
        if not used[k] and parallel[k].sum() > 1 and len(found) < shared.x_shape[0]:
            used |= parallel[k]
            found.append(unit[:, k])
    if len(found) < shared.x_shape[0]:
        return None
    directions = torch.stack(found, 1)
    delta = (directions * torch.linalg.lstsq(directions, bias[:, None]).solution.T).T
    features = torch.linalg.lstsq(delta.T, gradient).solution
    return Truth(delta.argmin(1), features.where(features.abs() > 1e-4, 0))


def is_right(found: masks.Reading | Truth | None, truth: Truth) -> bool:
    """Every label right, every mask, and every feature to 1e-2, in some order of the images."""
    if found is None or not found.features.isfinite().all():
        return False
    order = torch.cdist(found.features.double(), truth.features.double()).argmin(1)
    features = truth.features[order]
    same = found.y.equal(truth.y[order]) and (found.features != 0).equal(features != 0)
    return (
        len(order.unique()) == len(order)
        and same
        and bool((found.features - features).abs().max() < 1e-2)
    )


def rounds(cell: Cell) -> int:
    """How many rounds of a cell there is time for."""
    return (20 if cell.features == 768 and cell.batch <= 16 else 4) if cell.p else 2


def row(cell: Cell, images: Tensor) -> dict[str, object]:
    """What came of all rounds of a cell."""
    certified, right, simpler, seconds = 0, 0, 0, []
    for seed in range(rounds(cell)):
        model, shared, truth = honest_round(cell, seed, images)
        start = perf_counter()
        reading = separation.separate(model, shared).reading
        seconds.append(perf_counter() - start)
        certified += reading is not None
        right += is_right(reading, truth)
        simpler += is_right(by_parallel_columns(shared), truth)
    counts = {
        "certified": certified,
        "right": right,
        "parallel_columns_right": simpler,
        "rounds": rounds(cell),
    }
    return {**cell._asdict(), **counts, "seconds": f"{median(seconds):.2g}"}


def main() -> None:
    """Write the whole table."""
    torch.set_num_threads(1)
    images = torch.cat([pool("photos").x, pool("fruits").x])
    TABLE.parent.mkdir(exist_ok=True)
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for cell in tqdm(list(cells()), desc="separation"):
            writer.writerow(row(cell, images))
            file.flush()


if __name__ == "__main__":
    main()
