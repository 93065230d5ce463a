"""The attacks of breaching, a toolbox that you install yourself, on a round of this library.

breaching (Jonas Geiping and others, https://github.com/JonasGeiping/breaching, MIT licence) is
imported where it is installed; nothing of it is copied here. It works on normalised images and gets
a network that takes such, with the same parameters and so the same gradients.
"""

import contextlib
import io
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import torch
from torch import Generator, Tensor, nn

from dlgutils import Shared

MISSING = (
    "breaching is not installed, so its rows are left out: `pip install breaching`, in an "
    "environment of its own if you want to leave this one as it is, and run this again."
)
MEAN, STD = 0.5, 0.25
"""Of a pixel in [0, 1], by which images are normalised; photographs have about these."""


# `models.normalised` keeps mean and deviation in buffers, into which breaching, going by their
# order, would write those of the server.
class Normalised(nn.Module):
    """A network of images in [0, 1] as one of normalised images."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Its logits for normalised images, (batch, classes)."""
        return self.model(x * STD + MEAN)


def is_installed() -> bool:
    """Whether breaching can be imported."""
    return find_spec("breaching") is not None


def state() -> str:
    """A sentence on which version is installed, or how to install one."""
    return f"breaching {version('breaching')} is installed." if is_installed() else MISSING


def payloads(shared: Shared, model: nn.Module) -> tuple[list[dict], list[dict]]:
    """What breaching calls the server's payload and the shared data of one round.

    Args:
        shared: the gradient of a batch; its labels are not told.
        model: the network, in whose order parameters are listed.
    """
    channels = shared.x_shape[1]
    metadata = SimpleNamespace(
        shape=shared.x_shape[1:],
        mean=[MEAN] * channels,
        std=[STD] * channels,
        modality="vision",
        classes=shared.classes,
    )
    names = [name for name, _ in model.named_parameters()]
    buffers = [buffer.detach() for buffer in model.buffers()]
    payload = {
        "parameters": [shared.weights[name] for name in names],
        "buffers": buffers,
        "metadata": metadata,
    }
    data = {
        "gradients": [shared.gradient[name] for name in names],
        "buffers": None,
        "metadata": {
            "num_data_points": shared.x_shape[0],
            "labels": None,
            "local_hyperparams": None,
        },
    }
    return [payload], [data]


def reconstruct(
    model: nn.Module,
    shared: Shared,
    generator: Generator,
    attack: str = "invertinggradients",
    overrides: Sequence[str] = (),
) -> Tensor:
    """The images that an attack of breaching finds, in [0, 1], (batch, channels, height, width).

    Args:
        model: the network.
        shared: the gradient of a batch.
        generator: draws the start, N(0, 1) in normalised units, as breaching does by itself.
        attack: the name of one of its configurations.
        overrides: of settings in it, in the language of hydra: `optim.max_iterations=300`.

    Raises ModuleNotFoundError where breaching is not installed.
    """
    breaching = load()
    start = torch.randn(shared.x_shape, generator=generator)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = breaching.get_attack_config(attack, list(overrides))
        attacker = breaching.attacks.prepare_attack(
            Normalised(model), nn.CrossEntropyLoss(), config, {"device": start.device}
        )
        found, _ = attacker.reconstruct(
            *payloads(shared, model), server_secrets={}, initial_data=start
        )
    return found["data"] * STD + MEAN


def load() -> ModuleType:
    """The package; it warns, when it is imported, of what newer versions of others deprecate."""
    if not is_installed():
        raise ModuleNotFoundError(MISSING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import breaching
    return breaching
