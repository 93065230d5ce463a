"""How well an image follows from its features, beside two ways of matching the whole gradient.

Eight fruits that no network has seen, one a round, on networks as people write them, untrained and
trained here. `python -m reproduce.feature_matching` prints the table and writes
feature_matching.csv; `python -m reproduce.feature_matching CNN ResNet-18` runs these networks only.
Finished images are kept in _build/feature_matching, so an interrupted run goes on; the table counts
what is finished, with the rows that it had of other settings, and pictures.png there shows it. For
VGG-11 a call has nine gigabytes. Inverting Gradients with its published 24 000
evaluations takes about half an hour of one core for the eight images on the CNN. Seconds are those
of one processor.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from matplotlib import pyplot as plt
from torch import Tensor

import dlgutils as du
from dlgutils import attacks, metrics, plots, sweeps
from reproduce.dropout_cells import check_complete
from reproduce.inputs import all_images, one_image
from reproduce.tables import COMMITTED
from reproduce.trained_networks import Training, accuracy, held_out, trained

FOLDER = Path("_build/feature_matching")
TABLE = COMMITTED / "feature_matching.csv"
IMAGES = 8
TOGETHER = {"VGG-11": 1}
"""Images in one call, where they are not two: what a cell of one processor does fastest."""
PUBLISHED = 24_000
"""Evaluations of Inverting Gradients in its paper, arXiv:2003.14053."""

ATTACKS = {
    "features": attacks.features,
    "gradient matching": attacks.idlg,
    "Inverting Gradients": attacks.inverting,
}


class Setting(NamedTuple):
    """A row of the table."""

    network: str  # a name that `trained_networks.build` knows
    epochs: int
    attack: str  # a key of ATTACKS
    evaluations: int

    @property
    def folder(self) -> Path:
        """Where its finished images are kept."""
        return FOLDER / ", ".join(map(str, self))


SETTINGS = (
    Setting("CNN", 0, "features", 300),
    Setting("CNN", 0, "gradient matching", 300),
    Setting("CNN", 15, "features", 300),
    Setting("CNN", 15, "gradient matching", 300),
    Setting("Flower quick start", 0, "features", 300),
    Setting("Flower quick start", 0, "gradient matching", 300),
    Setting("Flower quick start", 15, "features", 300),
    Setting("Flower quick start", 15, "gradient matching", 300),
    Setting("ResNet-18", 0, "features", 300),
    Setting("ResNet-18", 0, "gradient matching", 100),
    Setting("ResNet-18", 5, "features", 300),
    Setting("ResNet-18", 5, "gradient matching", 100),
    Setting("VGG-11", 0, "features", 300),
    Setting("VGG-11", 0, "gradient matching", 100),
    Setting("VGG-11", 3, "features", 300),
    Setting("VGG-11", 3, "gradient matching", 100),
    Setting("Flower quick start", 0, "Inverting Gradients", 4000),
    Setting("Flower quick start", 15, "Inverting Gradients", 4000),
    Setting("CNN", 15, "Inverting Gradients", PUBLISHED),
)
"""In the order in which they run."""


def trial(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each cell; the cells are images of one setting, attacked in one call."""
    torch.set_num_threads(1)
    images = [cell["image"] for cell in cells]
    setting = Setting(*[cells[0][axis] for axis in Setting._fields])
    model = trained(Training(setting.network), setting.epochs)
    fruits = all_images("fruits")
    secrets = [one_image(fruits, int(held_out()[image])) for image in images]
    shared = [du.share(model, secret) for secret in secrets]
    begin = time.process_time()
    attack = ATTACKS[setting.attack]
    result = du.invert(model, shared, attack, seeds=images, steps=setting.evaluations, frames=1)
    check_complete(result)
    seconds = (time.process_time() - begin) / len(images)
    rows = []
    for k, secret in enumerate(secrets):
        keep_picture(result.x[k, 0], setting, images[k])
        row = scores(result.run(k), secret, fruits.x)
        rows.append({**row, "seconds": seconds})
    return rows


def folder_of_pictures(setting: Setting) -> Path:
    """Where the reconstructions of a setting are kept, beside the folder of its rows."""
    return setting.folder.with_suffix(".pictures")


def keep_picture(x: Tensor, setting: Setting, image: int) -> None:
    """Write a reconstruction, (channels, height, width)."""
    folder = folder_of_pictures(setting)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(x.clone(), folder / f"{image}.pt")


def scores(result: du.Result, secret: du.Batch, images: Tensor) -> dict[str, float | int]:
    """The scores of one run of one image, clipped to [0, 1]."""
    shown = result.x[0].nan_to_num().clamp(0, 1)
    return {
        "mse": metrics.mse(shown, secret.x).item(),
        "ssim": metrics.ssim(shown, secret.x).item(),
        "identified": int(metrics.identified(shown, secret.x, images)),
        "label_right": int(result.y[0] == secret.y),
        "loss": result.best_loss[0].item(),
    }


def run(setting: Setting) -> None:
    """Attack the images of a setting that are missing."""
    grid = {axis: [value] for axis, value in setting._asdict().items()}
    grid["image"] = list(range(IMAGES))
    together = TOGETHER.get(setting.network, 2)
    sweeps.run_grid(trial, grid, setting.folder, chunk=together)


def finished() -> pd.DataFrame:
    """A row for each setting of which there are images."""
    rows = []
    for setting in SETTINGS:
        files = sorted(setting.folder.glob("chunk-*.csv"))
        if files:
            runs = pd.concat([pd.read_csv(file) for file in files])
            rows.append(summary(setting, runs))
    return pd.DataFrame(rows)


def with_kept(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, and those of the table as it is of settings that are not among them, in order."""
    axes = list(Setting._fields)
    if TABLE.exists():
        rows = pd.concat([rows, pd.read_csv(TABLE)]).drop_duplicates(axes)
    place = {setting: k for k, setting in enumerate(SETTINGS)}
    places = [place.get(Setting(*key), len(place)) for key in rows[axes].itertuples(index=False)]
    return rows.iloc[sorted(range(len(places)), key=places.__getitem__)]


def summary(setting: Setting, runs: pd.DataFrame) -> dict[str, Any]:
    """A row of the table: counts and medians over the images of a setting."""
    model = trained(Training(setting.network), setting.epochs)
    return setting._asdict() | {
        "images": len(runs),
        "recovered": int((runs["mse"] < 1e-2).sum()),
        "identified": int(runs["identified"].sum()),
        "labels_right": int(runs["label_right"].sum()),
        "median_mse": runs["mse"].median(),
        "lowest_mse": runs["mse"].min(),
        "highest_mse": runs["mse"].max(),
        "median_ssim": runs["ssim"].median(),
        "seconds": runs["seconds"].median(),
        "seen_accuracy": accuracy(model, seen=True),
        "held_out_accuracy": accuracy(model),
    }


def draw() -> None:
    """Write pictures.png: the eight images, and below them what came back, a line a setting."""
    settings = [one for one in SETTINGS if (folder_of_pictures(one) / f"{IMAGES - 1}.pt").exists()]
    size = (1.2 * IMAGES, 1.4 * (1 + len(settings)))
    figure, axes = plt.subplots(1 + len(settings), IMAGES, figsize=size, squeeze=False)
    secret = all_images("fruits").x[held_out()[:IMAGES]]
    plots.images(secret, ["what the client had"], axes[0])
    for setting, line in zip(settings, axes[1:], strict=True):
        found = [torch.load(folder_of_pictures(setting) / f"{k}.pt") for k in range(IMAGES)]
        plots.images(torch.stack(found), [", ".join(map(str, setting))], line)
    for ax in axes[:, 0]:
        ax.title.set(ha="left", x=0)
    figure.savefig(FOLDER / "pictures.png", bbox_inches="tight", dpi=80)
    plt.close(figure)


def main(*networks: str) -> None:
    """Run what is missing, write what is finished, and print it.

    networks: those to run, all if none is named; "nothing" only writes what is finished.
    """
    for setting in SETTINGS:
        if not networks or setting.network in networks:
            run(setting)
            print(*setting, flush=True)
    draw()
    table = with_kept(finished())
    table.to_csv(TABLE, index=False, float_format="%.3g")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
