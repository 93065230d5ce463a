"""How well the closed form does, image by image.

Three experiments on the twelve photographs: sigmoids at several dropout rates; ReLU; and noise in
the gradient, whose size the solver is given, beside iDLG after 100 evaluations from grey and from
the closed form's image. `python -m reproduce.closed_form` prints them, in half an hour; an
interrupted run goes on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Generator, Tensor, nn

import dlgutils as du
from dlgutils import attacks, data, federated, metrics, models, sweeps
from dlgutils.analytic import closed_form
from dlgutils.types import Guess
from reproduce.inputs import INITIALISERS

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "ReLU": nn.ReLU}
IMAGES = list(data.class_names("photos"))
GRIDS = {
    "sigmoid": {
        "activation": ["sigmoid"],
        "init": list(INITIALISERS),
        "noise": [0.0],
        "rate": [0.0, 0.5, 0.9],
        "seed": [0],
    },
    "noise": {
        "activation": ["sigmoid"],
        "init": ["default"],
        "noise": [1e-5, 1e-4, 1e-3],
        "rate": [0.5],
        "seed": [0],
    },
    "ReLU": {
        "activation": ["ReLU"],
        "init": ["default"],
        "noise": [0.0],
        "rate": [0.0, 0.5],
        "seed": [0],
    },
}
FOLDER = Path("_build/closed_form")


def trial(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The errors of one honest round for each cell, a row each."""
    torch.set_num_threads(1)
    return [solve(**cell) for cell in cells]


def solve(
    *, image: str, activation: str, init: str, rate: float, noise: float, seed: int
) -> dict[str, Any]:
    """The errors of the closed form, and, with noise, of iDLG from two starts.

    Args:
        image: the name of a photograph.
        activation: a key of ACTIVATIONS.
        init: a key of INITIALISERS.
        rate: of dropout.
        noise: the standard deviation of what is added to every number of the gradient.
        seed: with the image, of the weights, the mask and the noise.
    """
    generator = Generator().manual_seed(1000 * seed + IMAGES.index(image))
    secret = data.photos(image)
    model = models.lenet(dropout=rate, activation=ACTIVATIONS[activation])
    drawn = federated.honest(model, secret, generator, init=INITIALISERS[init])
    shared = with_noise(drawn.shared, noise, generator)
    found = closed_form.recover(drawn.model, shared, noise=noise)
    row = {"mse": error(found.x, secret), "label_right": int(found.y == secret.y)}
    for layer in found.layers:
        if layer.name != "fc":
            row[f"missing in {layer.name}"] = layer.unknowns - layer.rank
    row |= {"idlg": None, "idlg_from_here": None}
    if noise:
        known = Guess(y=found.y, masks=found.masks)
        attack = replace(attacks.idlg, infer=lambda *_: known)
        for column, start in {"idlg": None, "idlg_from_here": found.x[None]}.items():
            result = du.invert(drawn.model, shared, attack, start=start, steps=100)
            row[column] = error(result.x[0], secret)
    return row


def with_noise(shared: du.Shared, noise: float, generator: Generator) -> du.Shared:
    """The round with N(0, noise²) added to its gradient."""
    noisy = {}
    for name, gradient in shared.gradient.items():
        noisy[name] = gradient + noise * torch.randn(gradient.shape, generator=generator)
    return replace(shared, gradient=noisy)


def error(x: Tensor, secret: du.Batch) -> float:
    """The MSE of one image, clipped to [0, 1]."""
    return metrics.mse(x.clamp(0, 1), secret.x).item()


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each setting: how many images, how many recognisable, the errors."""
    settings = table.groupby(["init", "rate", "noise"])
    return pd.DataFrame(
        {
            "images": settings["mse"].size(),
            "MSE < 1e-2": settings["mse"].agg(count_recognisable),
            "median": settings["mse"].median(),
            "worst": settings["mse"].max(),
            "iDLG, median": settings["idlg"].median(),
            "iDLG from here, median": settings["idlg_from_here"].median(),
        }
    )


def count_recognisable(mse: pd.Series) -> int:
    """How many images are below MSE 1e-2."""
    return (mse < 1e-2).sum()


def main() -> None:
    """Run what is missing, and print medians, worst cases and counts."""
    for name, grid in GRIDS.items():
        axes = {**grid, "image": IMAGES}
        table = sweeps.run_grid(trial, axes, FOLDER / name, chunk=6, progress=True)
        print(f"\n{name}\n{summary(table).to_string(float_format='{:.1e}'.format)}", flush=True)


if __name__ == "__main__":
    main()
