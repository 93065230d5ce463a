"""How many images come back? Success rates by images, initialisation, attack and evaluations.

Run k of a row has seed k, which draws the image, the weights, the mask and the start; no image is
chosen. Each run is made once, without restarts; the intervals are Wilson's. `python -m
reproduce.recovery` prints a Markdown table: 120 runs a row, 24 of the reference loops, which are
slow.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from tqdm.auto import tqdm

import dlgutils as du
from dlgutils import attacks, data, federated, metrics, models
from dlgutils.analytic import masks
from reproduce.inputs import all_images, one_image
from reproduce.tables import print_table

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
RATES = (0.1, 0.3, 0.5, 0.7, 0.9)


class Setting(NamedTuple):
    """One network, one attack, and after how many evaluations its images are scored."""

    images: str
    initialise: Callable[[nn.Module, Generator], nn.Module]
    attack: du.Attack
    looks: tuple[int, ...]
    runs: int = 120
    dropout: float = 0.0
    activation: type[nn.Module] = nn.Sigmoid
    sharpness: tuple[float, ...] = ()  # of `smooth_relu`, by stage; stages share the evaluations

    @property
    def network(self) -> str:
        """What the network is, in words."""
        initialiser = self.initialise.__name__.removeprefix("init_")
        words = [self.activation.__name__, initialiser]
        if self.sharpness:
            words.append("corners rounded")
        if self.dropout:
            words.append(f"dropout {self.dropout:g}")
        return ", ".join(words)


def settings() -> Iterator[Setting]:
    """All rows of the table."""
    default, wide = models.init_default, models.init_uniform
    for images in ("photos", "fruits", "fashion"):
        yield from sigmoid_settings(images, default, (100, 300))
        yield from sigmoid_settings(images, wide, (100, 300, 600))
    for initialise in (default, wide):
        yield Setting("photos", initialise, attacks.idlg_reference, (2000,), runs=24)
        yield Setting("photos", initialise, attacks.dlg_reference, (2000,), runs=24)
    for images in ("photos", "fruits"):
        sharp = Setting(images, default, attacks.idlg, (100, 300), activation=nn.ReLU)
        yield sharp
        yield sharp._replace(looks=(100, 240), sharpness=(16, 32, 64, 128))


def sigmoid_settings(
    images: str, initialise: Callable[[nn.Module, Generator], nn.Module], looks: tuple[int, ...]
) -> Iterator[Setting]:
    """The rows of the sigmoid network, without dropout and with masks that are read."""
    yield Setting(images, initialise, attacks.idlg, looks)
    yield Setting(images, initialise, attacks.dlg, looks)
    for rate in RATES if images == "photos" else (0.5,):
        yield Setting(images, initialise, attacks.mask_reading, looks[-1:], dropout=rate)


def honest_round(setting: Setting, seed: int, everything: du.Batch) -> federated.Round:
    """The round of one seed, on an image drawn from `everything`."""
    generator = Generator().manual_seed(seed)
    k = int(torch.randint(len(everything.x), (), generator=generator))
    secret = one_image(everything, k)
    model = models.lenet(
        tuple(secret.x.shape[1:]),
        classes=max(10, len(data.class_names(setting.images))),
        dropout=setting.dropout,
        activation=setting.activation,
    )
    return federated.honest(model, secret, generator, init=setting.initialise)


def draw_rounds(setting: Setting, runs: int) -> list[federated.Round]:
    """The rounds of seeds 0, 1, …"""
    everything = all_images(setting.images)
    return [honest_round(setting, seed, everything) for seed in range(runs)]


def rows(setting: Setting) -> Iterator[tuple[str, ...]]:
    """Measured rows of the table, one for each look."""
    rounds = draw_rounds(setting, setting.runs)
    read = "–"
    if setting.dropout:
        right = torch.tensor([is_mask_read(one) for one in rounds])
        read = str(metrics.success_rate(right))
    shared = [one.shared for one in rounds]
    x = torch.stack([one.secret.x for one in rounds])
    y = torch.stack([one.secret.y for one in rounds])
    for steps in setting.looks:
        result = recover(setting, rounds[0].model, shared, steps)
        names = setting.images, setting.network, setting.attack.name, str(steps)
        yield (*names, read, *scores(result, x, y))


def is_mask_read(one: federated.Round) -> bool:
    """Whether every mask that is read off the gradient is the one that the client drew."""
    found = masks.read(one.model, one.shared).masks
    same = [found[name].equal(mask) for name, mask in one.masks.items() if name in found]
    return found.keys() == one.masks.keys() and all(same)


def recover(
    setting: Setting, model: nn.Module, shared: Sequence[du.Shared], steps: int
) -> du.Result:
    """The last result of an attack in stages, of which there is usually one.

    Each stage starts from the images of the one before.

    Args:
        setting: the attack, and the sharpness of the corners at each stage.
        model: the network that the clients trained.
        shared: what they shared.
        steps: evaluations of all stages together.
    """
    stages = [model]
    if setting.sharpness:
        stages = [models.smooth_relu(model, sharpness) for sharpness in setting.sharpness]
    x = None
    for attacker in stages:
        result = du.invert(
            attacker,
            shared,
            setting.attack,
            seeds=range(len(shared)),
            start=x,
            steps=steps // len(stages),
            frames=1,
        )
        x = result.x
    return result


def scores(result: du.Result, x: Tensor, y: Tensor) -> list[str]:
    """Labels right, images below two thresholds, and the median error."""
    mse = metrics.mse(result.x, x)
    hits = (result.y == y, mse < 1e-2, mse < 1e-3)
    rates = [str(metrics.success_rate(hit)) for hit in hits]
    return [*rates, f"{mse.median():.1e}"]


def all_rows() -> Iterator[tuple[str, ...]]:
    """The rows of all settings, with a progress bar."""
    for setting in tqdm(list(settings()), desc="recovery"):
        yield from rows(setting)


def main() -> None:
    """Print the whole table."""
    print(f"torch {torch.__version__}\n", flush=True)
    print_table(HEAD, all_rows())


if __name__ == "__main__":
    main()
