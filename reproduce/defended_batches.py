"""What each defence leaves of a batch: images of four and eight at once, told apart or sought.

The rounds are those of `reproduce.defenses`, with several photographs of the test part in each: the
fresh LeNet with ReLU, and the network that was trained under the defence. DP-SGD clips each image's
gradient and adds its noise to their sum, by Opacus. The attackers know the defence: *apart* reads
the features of each image out of the sum (`features.split`) and matches them; *search* is iDLG on
the whole batch, with the labels given, noise weighed, and the network in eval mode where there is
dropout. What an attacker refuses counts as not identified; identified as in `reproduce.defenses`.

`python -m reproduce.defended_batches` writes defended_batches.csv; an interrupted run goes on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Generator, Tensor, nn

import dlgutils as du
from dlgutils import attacks, data, metrics, sweeps
from dlgutils.analytic import features
from dlgutils.federated import dp_sgd, honest
from dlgutils.matching import weighing_noise
from dlgutils.types import Guess
from reproduce.defended_training import CLIP, noise_multiplier
from reproduce.defenses import RECOGNISABLE, network_of, secret_images, setting_of
from reproduce.tables import COMMITTED, print_table

ROUNDS, EVALUATIONS = 4, 150
BATCHES, STAGES = (4, 8), ("fresh", "trained")
NAMES = (
    "none",
    "clip 0.1",
    "half precision",
    "8 bits",
    "4 bits",
    "largest 10 %",
    "signs",
    "noise 0.001",
    "noise 0.01",
    "ε = 1000",
    "ε = 10",
    "dropout 0.5",
)
FOLDER, TABLE = Path("_build/defended_batches"), COMMITTED / "defended_batches.csv"


def apart(model: nn.Module, shared: du.Shared, _: du.Batch) -> Tensor:
    """The images whose features come out of the sum, (images, channels, height, width)."""
    rounds = features.split(model, shared)
    found = du.invert(model, rounds, attacks.features, steps=EVALUATIONS, frames=1)
    return found.x[:, 0]


def search(model: nn.Module, shared: du.Shared, secret: du.Batch) -> Tensor:
    """All images at once, (images, channels, height, width), the labels given."""
    attack = replace(attacks.idlg, infer=lambda *_: Guess(y=secret.y))
    sigma = shared.protocol.sigma
    attack = weighing_noise(attack, sigma) if sigma else attack
    found = du.invert(model, shared, attack, seeds=[0], steps=EVALUATIONS, frames=1)
    return found.x[0]


ATTACKERS: dict[str, Callable[[nn.Module, du.Shared, du.Batch], Tensor]] = {
    "apart": apart,
    "search": search,
}


def trial(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each cell: a defence, a stage, a number of images, an attacker and a round."""
    torch.set_num_threads(1)
    return [measure(**cell) for cell in cells]


def measure(defense: str, stage: str, batch: int, attacker: str, number: int) -> dict[str, Any]:
    """How many images of one round one attacker finds."""
    model = network_of(defense, stage)
    secret = secret_images(number * batch, batch)
    shared = defended(model, defense, secret, Generator().manual_seed(number))
    try:
        found = ATTACKERS[attacker](model, shared, secret)
    except ValueError as error:
        return {
            "images": batch,
            "found": 0,
            "identified": 0,
            "recognisable": 0,
            "refused": str(error),
        }
    own = in_order(found.nan_to_num(0.5).clamp(0, 1), secret.x)
    return {
        "images": batch,
        "found": len(found),
        "identified": int(metrics.identified(own, secret.x, data.fruits().x).sum()),
        "recognisable": int((metrics.ssim(own, secret.x) >= RECOGNISABLE).sum()),
        "refused": "",
    }


def defended(model: nn.Module, name: str, secret: du.Batch, generator: Generator) -> du.Shared:
    """What the server sees of a batch."""
    setting = setting_of(name)
    if setting.epsilon is None:
        return honest(model, secret, generator, init=None, defenses=setting.defenses).shared
    multiplier = noise_multiplier(setting.epsilon)
    return dp_sgd.private_round(
        model, secret, generator, max_grad_norm=CLIP, noise_multiplier=multiplier
    )


def in_order(found: Tensor, truth: Tensor) -> Tensor:
    """The images in the order of the truth; grey stands for those that were not found."""
    missing = torch.full_like(truth[len(found) :], 0.5)
    return metrics.align(torch.cat([found, missing]), truth)


def main() -> None:
    """Attack what is missing, write the table, and print how many images were identified."""
    tables = []
    for name in NAMES:
        grid = {
            "defense": [name],
            "stage": STAGES,
            "batch": BATCHES,
            "attacker": list(ATTACKERS),
            "number": range(ROUNDS),
        }
        tables.append(sweeps.run_grid(trial, grid, FOLDER / name, chunk=ROUNDS, progress=True))
    rows = pd.concat(tables, ignore_index=True)
    keys = ["defense", "stage", "batch", "attacker"]
    table = rows.groupby(keys, sort=False)[["images", "found", "identified", "recognisable"]].sum()
    table = table.reset_index()
    table.to_csv(TABLE, index=False)
    print_table(list(table.columns), table.to_numpy().tolist())


if __name__ == "__main__":
    main()
