"""What each defence leaves: attackers who know it, and one who does not, on images held back.

The client computes the gradient of one photograph of fruit, on the fresh LeNet with ReLU and on the
network that was trained under this very defence (`reproduce.defended_training`, seed 0), passes it
through the defence and sends it. DP-SGD on one image is clipping, and the noise of its ε. Soteria
has no training of its own: its trained network is the undefended one.

The attackers: *naive search*, iDLG by somebody who takes what comes for the gradient itself;
*search*, iDLG which repeats the defence on its guesses and weighs its noise; *features*, which
reads or estimates the input of the linear layer and matches it, the error weighed; and the *closed
form*, which is told the noise. What an attacker refuses counts as not recovered. *Best* is the
attacker that identifies most, the naive one among them, as one who knows a defence can ignore it;
to choose it afterwards is in the attackers' favour. Images
are recovered below an MSE of 1e-2, recognisable from an SSIM of 0.5, identified if no other of the
1 393 fruits is nearer to what was found.

`python -m reproduce.defenses` writes defenses.csv, and what the best attackers found as pictures,
defenses.npz. Finished defences are kept in _build/defenses, so an interrupted run goes on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Generator, Tensor, nn

import dlgutils as du
from dlgutils import attacks, data, federated, metrics, models, sweeps
from dlgutils.analytic import closed_form
from dlgutils.analytic.features_of_one import feature_error
from dlgutils.federated import defenses
from dlgutils.matching import weighing_noise
from reproduce.defended_training import (
    CLIP,
    SETTINGS,
    SIZES,
    Setting,
    kept_network,
    network,
    noise_multiplier,
)
from reproduce.early_stopping import split
from reproduce.inputs import one_image
from reproduce.tables import COMMITTED, print_table
from reproduce.trained import RECOGNISABLE, RECOVERED

IMAGES, EVALUATIONS, SHOWN = 8, 150, 4
STAGES = ("fresh", "trained")
FOLDER = Path("_build/defenses")
TABLE, PICTURES = COMMITTED / "defenses.csv", COMMITTED / "defenses.npz"
SOTERIA = "Soteria 40 %"
NAMES = (*SETTINGS, SOTERIA)


def search(model: nn.Module, rounds: Sequence[du.Shared], attack: du.Attack) -> list[du.Batch]:
    """What an attack by search finds of each round."""
    found = du.invert(model, rounds, attack, seeds=range(len(rounds)), steps=EVALUATIONS, frames=1)
    return [du.Batch(x, y) for x, y in zip(found.x, found.y, strict=True)]


def naive_search(model: nn.Module, rounds: Sequence[du.Shared]) -> list[du.Batch]:
    """iDLG by somebody who does not know of a defence, nor of the scale that clipping leaves."""
    plain = du.Protocol(defenses=(defenses.unknown(),))
    return search(model, [replace(shared, protocol=plain) for shared in rounds], attacks.idlg)


def knowing_search(model: nn.Module, rounds: Sequence[du.Shared]) -> list[du.Batch]:
    """iDLG with the mask read, by somebody who repeats the defence on guesses and weighs noise."""
    dropped = any(layer.p for layer in models.dropouts(model).values())
    attack = attacks.mask_reading if dropped else attacks.idlg
    sigma = rounds[0].protocol.sigma
    return search(model, rounds, weighing_noise(attack, sigma) if sigma else attack)


def features(model: nn.Module, rounds: Sequence[du.Shared]) -> list[du.Batch]:
    """The input of the linear layer is read or estimated, and matched, its error weighed."""
    errors = [feature_error(model, shared) for shared in rounds]
    if not any(errors):
        return search(model, rounds, attacks.features)
    found = []
    for shared, error in zip(rounds, errors, strict=True):
        found += search(model, [shared], weighing_noise(attacks.features, error))
    return found


def solved(model: nn.Module, rounds: Sequence[du.Shared]) -> list[du.Batch]:
    """The closed form, which takes the noise from the round's protocol."""
    found = [closed_form.recover(model, shared) for shared in rounds]
    return [du.Batch(one.x, one.y) for one in found]


ATTACKERS: dict[str, Callable[[nn.Module, Sequence[du.Shared]], list[du.Batch]]] = {
    "naive search": naive_search,
    "search": knowing_search,
    "features": features,
    "closed form": solved,
}


def trial(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """All images of each cell: a defence, a stage and an attacker."""
    torch.set_num_threads(1)
    return [measure(cell["defense"], cell["stage"], cell["attacker"]) for cell in cells]


def measure(name: str, stage: str, attacker: str) -> dict[str, Any]:
    """How much of all images one attacker finds; the pictures are kept."""
    model = network_of(name, stage)
    secrets = secret_images()
    rounds = [defended(model, name, one_image(secrets, k), k) for k in range(IMAGES)]
    found = attacked(ATTACKERS[attacker], model, rounds)
    refused = [k for k, one in enumerate(found) if one is None]
    nothing = du.Batch(torch.full_like(secrets.x[:1], 0.5), torch.tensor([-1]))
    found = [nothing if one is None else one for one in found]
    x = torch.cat([one.x for one in found]).nan_to_num(0.5).clamp(0, 1)
    y = torch.cat([one.y for one in found])
    FOLDER.mkdir(parents=True, exist_ok=True)
    np.save(kept_pictures(name, stage, attacker), (255 * x[:SHOWN]).round().byte().numpy())
    return {"runs": IMAGES, "refused": len(refused), **scores(x, y, secrets, refused)}


def attacked(
    attack: Callable[[nn.Module, Sequence[du.Shared]], list[du.Batch]],
    model: nn.Module,
    rounds: Sequence[du.Shared],
) -> list[du.Batch | None]:
    """What one attacker finds of each round; None where they refuse it."""
    try:
        return list(attack(model, rounds))
    except ValueError:
        if len(rounds) == 1:
            return [None]
    return [attacked(attack, model, [shared])[0] for shared in rounds]


def scores(x: Tensor, y: Tensor, secrets: du.Batch, refused: Sequence[int]) -> dict[str, Any]:
    """Counts over all images, and medians."""
    mse, ssim = metrics.mse(x, secrets.x), metrics.ssim(x, secrets.x)
    own = metrics.identified(x, secrets.x, data.fruits().x)
    own[list(refused)] = False
    return {
        "labels": int((y == secrets.y).sum()),
        "recovered": int((mse < RECOVERED).sum()),
        "recognisable": int((ssim >= RECOGNISABLE).sum()),
        "identified": int(own.sum()),
        "median_mse": round(mse.median().item(), 5),
        "median_ssim": round(ssim.median().item(), 3),
    }


def secret_images(first: int = 0, count: int = IMAGES) -> du.Batch:
    """So many images of the test part, from one on: no network of seed 0 was trained on them."""
    parts = split("fruits", SIZES["fruits"], Generator().manual_seed(0))
    rows = slice(first, first + count)
    return du.Batch(parts.test.x[rows], parts.test.y[rows])


def network_of(name: str, stage: str) -> nn.Module:
    """The fresh network, or the one that was trained under this defence."""
    model = network("fruits", setting_of(name).rate)
    if stage == "fresh":
        return models.init_default(model, Generator().manual_seed(0))
    trained = kept_network("fruits", "none" if name == SOTERIA else name, 0)
    model.load_state_dict(torch.load(trained, weights_only=True))
    return model.eval()


def setting_of(name: str) -> Setting:
    """What protects the client."""
    return SETTINGS.get(name, Setting())


def defended(model: nn.Module, name: str, secret: du.Batch, seed: int) -> du.Shared:
    """What the server sees of one image."""
    setting = setting_of(name)
    steps = setting.defenses
    if setting.epsilon is not None:
        sigma = noise_multiplier(setting.epsilon) * CLIP
        steps = (defenses.clip(CLIP), defenses.noise(sigma))
    if name == SOTERIA:
        steps = (defenses.soteria(model, secret.x, 0.4),)
    generator = Generator().manual_seed(seed)
    return federated.honest(model, secret, generator, init=None, defenses=steps).shared


def kept_pictures(name: str, stage: str, attacker: str) -> Path:
    """Where the first images that an attacker found are."""
    return FOLDER / f"{name}, {stage}, {attacker}.npy"


def best(table: pd.DataFrame) -> pd.Index:
    """Of each defence and stage, the row of the attacker that identifies most."""
    order = ["identified", "recovered", "median_ssim"]
    ranked = table.sort_values(order, ascending=False, kind="stable")
    return ranked.groupby(["stage", "defense"]).head(1).index


def write_pictures(table: pd.DataFrame) -> None:
    """Keep what the best attackers found, (defences, images, channels, height, width), by stage."""
    chosen = table[table["best"]].set_index(["stage", "defense"])["attacker"]
    names = list(dict.fromkeys(table["defense"]))
    arrays = {}
    for stage in STAGES:
        rows = [np.load(kept_pictures(name, stage, chosen[stage, name])) for name in names]
        arrays[stage] = np.stack(rows)
    secrets = secret_images().x[:SHOWN]
    np.savez_compressed(PICTURES, secrets=(255 * secrets).round().byte().numpy(), **arrays)


def summary(table: pd.DataFrame) -> Iterator[list[Any]]:
    """A row for each stage and defence: what the naive attacker finds, and the best."""
    naive = table[table["attacker"] == "naive search"].set_index(["stage", "defense"])
    for _, row in table[table["best"]].iterrows():
        unknowing = naive.loc[(row["stage"], row["defense"])]
        yield [
            row["stage"],
            row["defense"],
            f"{unknowing['identified']} of {row['runs']}",
            f"{row['identified']} of {row['runs']} ({row['attacker']})",
            f"{row['labels']} of {row['runs']}",
            row["median_mse"],
            row["median_ssim"],
        ]


def main() -> None:
    """Attack what is missing, write the table and the pictures, and print a summary."""
    tables = []
    for name in NAMES:
        grid = {"defense": [name], "stage": STAGES, "attacker": list(ATTACKERS)}
        tables.append(sweeps.run_grid(trial, grid, FOLDER / name, chunk=1, progress=True))
    table = pd.concat(tables, ignore_index=True)
    table["best"] = table.index.isin(best(table))
    table.to_csv(TABLE, index=False)
    write_pictures(table)
    head = ("network", "defence", "naive", "best", "labels", "median MSE", "median SSIM")
    print_table(head, summary(table))


if __name__ == "__main__":
    main()
