"""How well the closed form does, image by image: `python -m reproduce.closed_form` prints it, in half an hour.

Three experiments on the twelve photographs: sigmoids at several dropout rates; ReLU; and noise in the gradient, told to the
solver, beside iDLG after 100 evaluations from grey and from the closed form's image. Interrupted, it goes on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Generator, nn

import dlgutils as du
from dlgutils import attacks, data, metrics, models, sweeps
from dlgutils.analytic import closed_form
from reproduce.dropout_run import INITIALISERS

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "ReLU": nn.ReLU}
BOTH, IMAGES = list(INITIALISERS), list(data.class_names("photos"))
GRIDS = {
    "sigmoid": {
        "activation": ["sigmoid"],
        "init": BOTH,
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
    """One honest round and one solution a cell."""
    torch.set_num_threads(1)
    return [solve(**cell) for cell in cells]


def solve(
    *, image: str, activation: str, init: str, rate: float, noise: float, seed: int
) -> dict[str, Any]:
    """The errors of the closed form, and, with noise, of iDLG from two starts."""
    generator = Generator().manual_seed(1000 * seed + IMAGES.index(image))
    net = models.lenet(dropout=rate, activation=ACTIVATIONS[activation])
    model, secret = INITIALISERS[init](net, generator), data.photos(image)
    shared = du.share(model, secret, generator)
    noisy = {
        k: g + noise * torch.randn(g.shape, generator=generator) for k, g in shared.gradient.items()
    }
    shared = replace(shared, gradient=noisy)
    found = closed_form.recover(model, shared, noise=noise)
    ranks = {
        f"missing in {layer.name}": layer.unknowns - layer.rank
        for layer in found.layers
        if layer.name != "fc"
    }
    row = {
        "mse": error(found.x, secret),
        "label_right": int(found.y == secret.y),
        **ranks,
        "idlg": None,
        "idlg_from_here": None,
    }
    if noise:
        known = {"y": found.y, **found.masks}
        told = replace(attacks.idlg, read=lambda *_: known)
        starts = {"idlg": None, "idlg_from_here": found.x[None]}
        row |= {
            name: error(du.invert(model, shared, told, start=x, steps=100).x[0], secret)
            for name, x in starts.items()
        }
    return row


def error(x: torch.Tensor, secret: du.Batch) -> float:
    """The MSE of one image, clipped to [0, 1]."""
    return metrics.mse(x.clamp(0, 1), secret.x).item()


def main() -> None:
    """Run what is missing, and print medians, worst cases and counts."""
    for name, grid in GRIDS.items():
        table = sweeps.run_grid(
            trial, {**grid, "image": IMAGES}, FOLDER / name, chunk=6, progress=True
        )
        print(f"\n{name}\n{summary(table).to_string(float_format='{:.1e}'.format)}", flush=True)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each setting: how many images, how many recognisable, the errors."""
    settings = table.groupby(["init", "rate", "noise"])
    return pd.DataFrame(
        {
            "images": settings["mse"].size(),
            "MSE < 1e-2": settings["mse"].agg(lambda mse: (mse < 1e-2).sum()),
            "median": settings["mse"].median(),
            "worst": settings["mse"].max(),
            "iDLG, median": settings["idlg"].median(),
            "iDLG from here, median": settings["idlg_from_here"].median(),
        }
    )


if __name__ == "__main__":
    main()
