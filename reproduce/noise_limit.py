"""How near attackers come to what noise allows anyone: errors beside limits, over six decades.

Three networks for fruits: a LeNet of sigmoids before and after training, and one of ReLUs. Gaussian
noise of standard deviation σ is added to every number of the gradient of one image. The attackers:
*iDLG*, who matches the noise too; the *most probable image*, who knows σ and a Gaussian prior
measured on the fruits that the networks were trained on (`coordinates.measured`), and searches from
their mean; the *closed form*, which is told σ and has its own prior; and the search *from there*.
All read the label in spite of the noise. They attack fruits that nobody has seen, clipped to
[0, 1], and images that are *drawn* from that prior, which are not clipped: for these the bound of
van Trees holds, where the network is smooth.

Beside them stand the limits, per pixel: `limit`, exact for the network linearised at an image, the
mean over some images; and for drawn images `bayesian_limit`, the information averaged over some.

`python -m reproduce.noise_limit` runs what is missing and writes noise_limit.csv after each part,
in 40 minutes of one core. What is finished is kept in _build/noise_limit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Generator, Tensor, nn

import dlgutils as du
from dlgutils import attacks, coordinates, federated, metrics, models, sweeps
from dlgutils.analytic import closed_form, jacobian, limits
from dlgutils.federated import defenses
from dlgutils.matching import weighing_noise
from dlgutils.types import Attack, Guess, Transform
from reproduce.inputs import all_images
from reproduce.tables import COMMITTED
from reproduce.trained_networks import Training, count_seen, held_out, order, trained

FOLDER = Path("_build/noise_limit")
TABLE = COMMITTED / "noise_limit.csv"
SIGMAS = [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
NETWORKS = (("LeNet, sigmoid", 0), ("LeNet, sigmoid", 80), ("LeNet, ReLU", 0))
"""With the epochs of their training."""

RUNS = {"most probable image": 8, "iDLG": 8, "closed form": 2}
"""How many images each attacker gets: the closed form is slow."""

LINEARISED, AVERAGED = 1, 3
"""On how many of these images the limits are computed."""

SLOW, FAST = 1000, 200
"""Evaluations of a search: where σ is at most 1e-6, there is more to be found, and elsewhere."""


class Part(NamedTuple):
    """One attacker, or the limits, on one network and kind of image, for every σ."""

    network: str
    epochs: int
    images: str  # "fruits", or "drawn" from the prior
    what: str  # an attacker of RUNS, or "limits"

    @property
    def grid(self) -> dict[str, list]:
        """The cells of its sweep; those of one σ, or for limits all, are computed together."""
        images = [0] if self.what == "limits" else list(range(RUNS[self.what]))
        return {axis: [value] for axis, value in self._asdict().items()} | {
            "sigma": SIGMAS,
            "image": images,
        }

    @property
    def rows(self) -> pd.DataFrame:
        """A row for each σ and image, computed if it is missing."""
        folder = FOLDER / ", ".join(map(str, self))
        if self.what == "limits":
            return sweeps.run_grid(limits_of, self.grid, folder, chunk=len(SIGMAS))
        return sweeps.run_grid(attacked, self.grid, folder, chunk=RUNS[self.what])


def parts() -> Iterator[Part]:
    """All parts, in the order in which they run: one network after another."""
    whats = (
        ("drawn", "most probable image"),
        ("drawn", "limits"),
        ("fruits", "most probable image"),
        ("fruits", "limits"),
        ("fruits", "iDLG"),
        ("drawn", "closed form"),
        ("fruits", "closed form"),
    )
    for (network, epochs), (images, what) in product(NETWORKS, whats):
        if what != "closed form" or "sigmoid" in network:  # with ReLUs it takes twenty times longer
            yield Part(network, epochs, images, what)


@cache
def prior() -> Transform:
    """The coordinates of the fruits on which the networks are trained."""
    seen = order()[: count_seen("fruits")]
    return coordinates.measured(all_images("fruits").x[seen])


def secrets(images: str, count: int) -> du.Batch:
    """The first images of a kind, in float64, with their labels."""
    if images == "fruits":
        rows = held_out()[:count]
        x, y = all_images("fruits")
        return du.Batch(x[rows].double(), y[rows])
    generator = Generator().manual_seed(1)
    u = torch.randn(64, 3, 32, 32, generator=generator, dtype=torch.float64)
    y = torch.randint(12, (64,), generator=generator)
    return du.Batch(prior().decode(u)[:count], y[:count])


def rounds_of(model: nn.Module, secret: du.Batch, sigma: float) -> list[du.Shared]:
    """A round of each image, image k with noise of seed k. Drawn images may leave [0, 1]."""
    weights = models.weights(model)
    made = []
    for k in range(len(secret.x)):
        one = slice(k, k + 1)
        gradient = federated.update(weights, model, Guess(secret.x[one], secret.y[one]))
        clean = du.Shared(weights, gradient, tuple(secret.x[one].shape))
        generator = Generator().manual_seed(k)
        made.append(defenses.defend(clean, [defenses.noise(sigma)], generator))
    return made


def attacked(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The errors of one attacker on all images of one kind and σ, a row each.

    The closed form has a second error, that of the most probable image found from its own.
    """
    torch.set_num_threads(1)
    cell = cells[0]
    model = network_of(cell)
    secret = secrets(cell["images"], len(cells))
    rounds = rounds_of(model, secret, cell["sigma"])
    if cell["what"] == "closed form":
        found = [solved(model, shared, cell["sigma"]) for shared in rounds]
        x = torch.stack([batch.x for batch in found])
        y = torch.cat([batch.y for batch in found])
        errors = {"mse": error_of(x, secret, cell["images"])}
        result = du.invert(model, rounds, attack_of(cell), start=x, steps=FAST, frames=1)
        errors["polished"] = error_of(result.x, secret, cell["images"])
    else:
        steps = SLOW if cell["sigma"] <= 1e-6 else FAST
        result = du.invert(model, rounds, attack_of(cell), steps=steps, frames=1)
        y = result.y[:, 0]
        errors = {"mse": error_of(result.x, secret, cell["images"])}
    errors["label_right"] = (y == secret.y).int().tolist()
    return [dict(zip(errors, row, strict=True)) for row in zip(*errors.values(), strict=True)]


def error_of(x: Tensor, secret: du.Batch, images: str) -> list[float]:
    """The MSE of each image, x (runs, 1, channels, height, width); fruits are clipped to [0, 1]."""
    shown = x[:, 0].nan_to_num()
    return metrics.mse(shown.clamp(0, 1) if images == "fruits" else shown, secret.x).tolist()


def attack_of(cell: Mapping[str, Any]) -> Attack:
    """The search of a cell, from the mean of the prior, or from grey.

    The prior's own coordinates would suit the descent less where the noise is small.
    """
    if cell["what"] == "iDLG":
        return attacks.idlg
    sigma = cell["sigma"]
    most_probable = weighing_noise(attacks.idlg, sigma, transform=prior(), variance=1.0)
    return replace(most_probable, start=mean_of_prior, transform=coordinates.whitened)


def mean_of_prior(_: nn.Module, shared: du.Shared, __: Generator | None) -> Guess:
    """The mean of the images on which the prior was measured."""
    return Guess(prior().decode(shared.like.new_zeros(shared.x_shape)))


def solved(model: nn.Module, shared: du.Shared, sigma: float) -> du.Batch:
    """What the closed form finds; grey, of class −1, where it refuses the round."""
    try:
        found = closed_form.recover(model, shared, noise=sigma)
    except ValueError:
        grey = torch.full(shared.x_shape, 0.5, dtype=torch.float64)
        return du.Batch(grey, torch.tensor([-1]))
    return du.Batch(found.x, found.y)


def network_of(cell: Mapping[str, Any]) -> nn.Module:
    """The network of a cell, in float64."""
    return trained(Training(cell["network"]), cell["epochs"]).double()


def limits_of(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The limits for every σ, on images of one kind; the size of the gradient for comparison."""
    torch.set_num_threads(1)
    model = network_of(cells[0])
    secret = secrets(cells[0]["images"], AVERAGED)
    sigma = torch.tensor([cell["sigma"] for cell in cells], dtype=torch.float64)
    gaussian = limits.white(prior(), secret.x.shape)
    drawn = cells[0]["images"] == "drawn"
    roots = []
    for k in range(AVERAGED if drawn else LINEARISED):
        one = slice(k, k + 1)
        roots.append(jacobian.information_root(model, du.Batch(secret.x[one], secret.y[one])))
    linearised = [limits.limit(root, sigma, gaussian) for root in roots[:LINEARISED]]
    columns = {
        "linearised": torch.stack(linearised).mean(0).tolist(),
        "rms": [_root_mean_square(model, secret)] * len(sigma),
    }
    if drawn:
        columns["van_trees"] = limits.bayesian_limit(roots, sigma, gaussian).tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _root_mean_square(model: nn.Module, secret: du.Batch) -> float:
    """The root mean square of the numbers of a gradient, the median over the images."""
    sizes: list[Tensor] = []
    for shared in rounds_of(model, secret, 0.0):
        numbers = torch.cat([g.flatten() for g in shared.gradient.values()])
        sizes.append(numbers.square().mean().sqrt())
    return float(torch.stack(sizes).median())


def summary(errors: pd.DataFrame, bounds: pd.DataFrame) -> pd.DataFrame:
    """A row for each network, kind of image, σ and attacker, beside its limits if they are there.

    errors: of all attackers. bounds: of all parts that are limits, empty if there are none yet.
    """
    if "polished" in errors:
        solved_first = errors.dropna(subset="polished").assign(what="most probable, from there")
        solved_first["mse"] = solved_first["polished"]
        errors = pd.concat([errors, solved_first])
    setting = ["network", "epochs", "images", "sigma"]
    groups = errors.groupby([*setting, "what"], sort=False)
    table = groups.agg(
        runs=("mse", "size"),
        labels_right=("label_right", "sum"),
        median_mse=("mse", "median"),
        mean_mse=("mse", "mean"),
    ).reset_index()
    table = table.rename(columns={"what": "attacker"})
    if bounds.empty:
        return table
    return table.merge(bounds.drop(columns=["what", "image"]), on=setting, how="left")


def main() -> None:
    """Run what is missing, and write the table after each part."""
    errors, bounds = [], [pd.DataFrame()]
    for part in parts():
        (bounds if part.what == "limits" else errors).append(part.rows)
        table = summary(pd.concat(errors), pd.concat(bounds))
        table.to_csv(TABLE, index=False, float_format="%.3g")
        print(*part, flush=True)


if __name__ == "__main__":
    main()
