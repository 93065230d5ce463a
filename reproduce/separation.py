"""How large a batch comes apart, by dropout rate, batch, features and classes?

Round k of a cell has seed k, which draws the images, their labels (any, so some are equal), the
weights (PyTorch's default) and the masks. 768 features are those of the LeNet, 4 096 those of a
fully connected layer, both behind sigmoids, and the gradients are single precision. Rounds that
`separate` certifies are counted beside those that a simpler rule gets right: group parallel
columns, each a unit that survived in one image alone. `python -m reproduce.separation` writes
separation.csv (about 15 minutes).
"""

from collections.abc import Iterator
from itertools import product
from statistics import median
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from tqdm.auto import tqdm

import dlgutils as du
from dlgutils import federated, models
from dlgutils.analytic import masks, separation
from reproduce.inputs import all_images
from reproduce.tables import COMMITTED, write_table

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
TABLE = COMMITTED / "separation.csv"
LENET_FEATURES = 768
RATES = (0.1, 0.3, 0.5, 0.7, 0.9)
BATCHES = (2, 4, 8, 16, 32, 64)


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
    """The whole table, except for what needs no run: more images than independent δ.

    There is one δ fewer than classes. Batches without dropout are in `reproduce.mixing`.
    """
    for values in product((LENET_FEATURES, 4096), (10, 100), RATES, BATCHES):
        cell = Cell(*values)
        if cell.batch < cell.classes:
            yield cell


def honest_round(cell: Cell, seed: int, images: Tensor) -> federated.Round:
    """The round of one seed."""
    generator = Generator().manual_seed(seed)
    x = images[torch.randperm(len(images), generator=generator)[: cell.batch]]
    y = torch.randint(cell.classes, (cell.batch,), generator=generator)
    if cell.features == LENET_FEATURES:
        model = models.lenet(classes=cell.classes, dropout=cell.p)
    else:
        model = models.mlp(hidden=(cell.features,), classes=cell.classes, dropout=cell.p)
    return federated.honest(model, du.Batch(x, y), generator)


def truth_of(one: federated.Round) -> Truth:
    """Labels and features of a round, with the client's masks."""
    x = one.secret.x
    if isinstance(one.model, models.MLP):
        x = x.flatten(1)
    with torch.no_grad():
        features = one.model.body(x).flatten(1)
    for mask in one.masks.values():
        features = features * mask
    return Truth(one.secret.y, features)


def by_parallel_columns(shared: du.Shared) -> Truth | None:
    """Labels and features by the simpler rule; None if too few groups of columns are parallel."""
    weight, bias = shared.classifier
    gradient = shared.gradient[weight].double()
    found = parallel_directions(gradient, shared.x_shape[0])
    if len(found) < shared.x_shape[0]:
        return None
    directions = torch.stack(found, 1)
    sums = shared.gradient[bias].double()[:, None]
    delta = (directions * torch.linalg.lstsq(directions, sums).solution.T).T
    features = torch.linalg.lstsq(delta.T, gradient).solution
    return Truth(delta.argmin(1), features.where(features.abs() > 1e-4, 0))


def parallel_directions(gradient: Tensor, most: int) -> list[Tensor]:
    """The directions that most columns of a gradient share, at most `most`, each (classes,)."""
    size = gradient.norm(dim=0)
    unit = (gradient / size)[:, size > 0]
    parallel = (unit.T @ unit).abs() > 1 - 1e-9
    used = torch.zeros(len(parallel), dtype=torch.bool)
    found = []
    for k in parallel.sum(1).argsort(descending=True).tolist():
        if not used[k] and parallel[k].sum() > 1 and len(found) < most:
            used |= parallel[k]
            found.append(unit[:, k])
    return found


def is_right(found: masks.Reading | Truth | None, truth: Truth) -> bool:
    """Whether every label, every mask, and every feature to 1e-2 is right, in some order."""
    if found is None or not found.features.isfinite().all():
        return False
    order = torch.cdist(found.features.double(), truth.features.double()).argmin(1)
    if len(order.unique()) < len(order):
        return False
    features = truth.features[order]
    labels_right = found.y.equal(truth.y[order])
    masks_right = (found.features != 0).equal(features != 0)
    error = (found.features - features).abs().max()
    return labels_right and masks_right and bool(error < 1e-2)


def count_rounds(cell: Cell) -> int:
    """How many rounds of a cell there is time for."""
    is_small = cell.features == LENET_FEATURES and cell.batch <= 16
    return 20 if is_small else 4


def row(cell: Cell, images: Tensor) -> dict[str, object]:
    """The row of a cell, {column: value}: counts over all of its rounds, and the median time."""
    certified, right, simpler, seconds = [], [], [], []
    for seed in range(count_rounds(cell)):
        one = honest_round(cell, seed, images)
        truth = truth_of(one)
        start = perf_counter()
        reading = separation.separate(one.model, one.shared).reading
        seconds.append(perf_counter() - start)
        certified.append(reading is not None)
        right.append(is_right(reading, truth))
        simpler.append(is_right(by_parallel_columns(one.shared), truth))
    return {
        **cell._asdict(),
        "certified": sum(certified),
        "right": sum(right),
        "parallel_columns_right": sum(simpler),
        "rounds": len(seconds),
        "seconds": f"{median(seconds):.2g}",
    }


def rows() -> Iterator[dict[str, object]]:
    """All rows of the table, with a progress bar."""
    images = torch.cat([all_images("photos").x, all_images("fruits").x])
    for cell in tqdm(list(cells()), desc="separation"):
        yield row(cell, images)


def main() -> None:
    """Write the whole table."""
    torch.set_num_threads(1)
    write_table(TABLE, COLUMNS, rows())


if __name__ == "__main__":
    main()
