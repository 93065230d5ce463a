"""How many images come back? Success rates with Wilson intervals: set of images × initialisation × attack × evaluations.

Run k of a row has seed k, which draws the image, the weights, the mask and the start; no image is chosen. One run each, no
restarts. `python -m reproduce.recovery` prints a Markdown table: 120 runs a row, 24 of the reference loops, which are slow.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from tqdm.auto import tqdm

import dlgutils as du
from dlgutils import attacks, data, metrics, models
from dlgutils.analytic import masks

HEAD = (
    "images",
    "network",
    "attack",
    "evaluations",
    "masks",
    "labels",
    "MSE < 1e-2",
    "MSE < 1e-3",
    "median MSE",
)


class Setting(NamedTuple):
    """One network, one attack, and after how many evaluations to look."""

    images: str
    initialise: Callable[[nn.Module, Generator], nn.Module]
    attack: du.Attack
    looks: tuple[int, ...]
    runs: int = 120
    dropout: float = 0.0
    activation: type[nn.Module] = nn.Sigmoid
    sharpness: tuple[
        float, ...
    ] = ()  # of the rounded corners, one stage after the other: the evaluations are shared out

    @property
    def network(self) -> str:
        """What the network is, in words."""
        corners = ", corners rounded" if self.sharpness else ""
        rate = f", dropout {self.dropout:g}" if self.dropout else ""
        return f"{self.activation.__name__}, {self.initialise.__name__.removeprefix('init_')}{corners}{rate}"


def settings() -> Iterator[Setting]:
    """All rows of the table."""
    default, wide = models.init_default, models.init_uniform
    for images in ("photos", "fruits", "fashion"):
        for initialise, looks in ((default, (100, 300)), (wide, (100, 300, 600))):
            yield Setting(images, initialise, attacks.idlg, looks)
            yield Setting(images, initialise, attacks.dlg, looks)
            for rate in (0.1, 0.3, 0.5, 0.7, 0.9) if images == "photos" else (0.5,):
                yield Setting(images, initialise, attacks.mask_reading, looks[-1:], dropout=rate)
    for initialise in (default, wide):
        yield Setting("photos", initialise, attacks.idlg_reference, (2000,), runs=24)
        yield Setting("photos", initialise, attacks.dlg_reference, (2000,), runs=24)
    for images in ("photos", "fruits"):
        yield Setting(images, default, attacks.idlg, (100, 300), activation=nn.ReLU)
        yield Setting(
            images,
            default,
            attacks.idlg,
            (100, 240),
            activation=nn.ReLU,
            sharpness=(16, 32, 64, 128),
        )


def pool(images: str) -> du.Batch:
    """All images of a set: both crops of the photographs, the fruits, Fashion-MNIST."""
    if images != "photos":
        return {"fruits": data.fruits, "fashion": data.fashion}[images]()
    return du.Batch(
        *(torch.cat(parts) for parts in zip(data.photos(), data.photos(crop=1), strict=True))
    )


def honest_round(
    setting: Setting, seed: int, everything: du.Batch
) -> tuple[nn.Module, du.Shared, du.Batch]:
    """The round of one seed: model, what the client shares, what it keeps."""
    gen = Generator().manual_seed(seed)
    k = int(torch.randint(len(everything.x), (), generator=gen))
    secret = du.Batch(everything.x[k : k + 1], everything.y[k : k + 1])
    classes = max(10, len(data.class_names(setting.images)))
    model = models.lenet(
        tuple(secret.x.shape[1:]), classes, dropout=setting.dropout, activation=setting.activation
    )
    model = setting.initialise(model, gen)
    return model, du.share(model, secret, gen, reveal_masks=True), secret


def rows(setting: Setting) -> Iterator[str]:
    """Measured rows of the table, one for each look."""
    everything = pool(setting.images)
    nets, rounds, secrets = zip(
        *(honest_round(setting, seed, everything) for seed in range(setting.runs)), strict=True
    )
    x, y = torch.stack([s.x for s in secrets]), torch.stack([s.y for s in secrets])
    shared = [replace(s, masks=None) for s in rounds]  # they were revealed for the next line only
    read = (
        str(metrics.success_rate(torch.tensor(list(map(mask_is_read, nets, rounds, shared)))))
        if setting.dropout
        else "–"
    )
    for steps in setting.looks:
        result = recover(setting, nets[0], shared, steps)
        yield " | ".join(
            [
                "",
                setting.images,
                setting.network,
                setting.attack.name,
                str(steps),
                read,
                *scores(result, x, y),
                "",
            ]
        )


def mask_is_read(model: nn.Module, revealed: du.Shared, shared: du.Shared) -> bool:
    """Is every mask that is read off the gradient the one that the client drew?"""
    found = masks.read(model, shared).masks
    return found.keys() == revealed.masks.keys() and all(
        found[name].equal(mask) for name, mask in revealed.masks.items()
    )


def recover(
    setting: Setting, model: nn.Module, shared: Sequence[du.Shared], steps: int
) -> du.Result:
    """The last result of an attack in stages, each starting from the images of the one before; usually there is one."""
    attack, x = setting.attack, None
    attackers = [models.smooth_relu(model, sharpness) for sharpness in setting.sharpness] or [model]
    for attacker in attackers:
        steps_here = steps // len(attackers)
        result = du.invert(
            attacker, shared, attack, range(len(shared)), start=x, steps=steps_here, frames=1
        )
        x = result.x
    return result


def scores(result: du.Result, x: Tensor, y: Tensor) -> list[str]:
    """Labels right, images below two thresholds, and the median error."""
    mse = metrics.mse(result.x, x)
    rates = [metrics.success_rate(hits) for hits in (result.y == y, mse < 1e-2, mse < 1e-3)]
    return [*map(str, rates), f"{mse.median():.1e}"]


def main() -> None:
    """Print the whole table."""
    print(f"torch {torch.__version__}\n\n| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}", flush=True)
    for setting in tqdm(list(settings()), desc="recovery"):
        for row in rows(setting):
            tqdm.write(row.strip(), file=sys.stdout)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
