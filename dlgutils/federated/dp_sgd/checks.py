"""What differential privacy asks of numbers, of models, and of a row of defences."""

import math
from collections.abc import Iterable, Mapping
from numbers import Real

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from dlgutils import models
from dlgutils.federated.defenses import noise
from dlgutils.federated.defenses.checks import require_row
from dlgutils.protocol import Defense, Effect

_RANGES: Mapping[str, tuple[float, float, str]] = {
    "noise_multiplier": (-math.ulp(0), math.inf, "a finite number from 0 on"),
    "max_grad_norm": (0, math.inf, "a positive number"),
    "epsilon": (0, math.inf, "a positive number"),
    "delta": (0, 1, "a probability between 0 and 1"),
    "sample_rate": (0, math.nextafter(1, 2), "a probability above 0, at most 1"),
}

_ALIKE = 1e-3  # of the largest output: far above rounding


def check_numbers(numbers: Mapping[str, float]) -> None:
    """Raises ValueError for numbers out of their ranges; each by the name that the caller knows."""
    for name, number in numbers.items():
        if name in _RANGES:
            low, high, words = _RANGES[name]
            right = isinstance(number, Real) and low < number < high
        else:
            words = "a whole number from 1 on"
            right = isinstance(number, int) and not isinstance(number, bool) and number >= 1
        if not right:
            raise ValueError(f"{name} is {words}, got {number!r}")


def check_private(model: nn.Module) -> None:
    """Raises ValueError for a model in which one example's gradient is not its own, or random."""
    for name, layer in model.named_modules():
        if isinstance(layer, _BatchNorm | models.BatchStatistics):
            raise ValueError(
                f"{name or 'the model'} is a {type(layer).__name__}, which mixes the examples of a "
                "batch, so that none has a gradient of its own to be clipped; use GroupNorm "
                "instead: opacus.validators.ModuleValidator.fix(model)"
            )
        if isinstance(layer, _InstanceNorm) and layer.track_running_stats:
            raise ValueError(
                f"{name or 'the model'} is {type(layer).__name__} with track_running_stats: it "
                "keeps means of the images, which no clip bounds and no noise covers; make it "
                "with track_running_stats=False, or use GroupNorm"
            )
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0:
            raise ValueError(_of_dropout(name))
    active = list(models.active_dropouts(model))
    if active:
        raise ValueError(_of_dropout(active[0].removesuffix(".mask")))


def check_called(model: nn.Module, x: Tensor) -> None:
    """Raises ValueError for trained parameters of layers that a forward pass does not call.

    Opacus makes the gradients of single examples where a layer is called, and nowhere else.

    x: one image, (1, channels, height, width).
    """
    called = models.called(model, x)
    silent = []
    for name, parameter in model.named_parameters():
        owner = model.get_submodule(name.rpartition(".")[0])
        if parameter.requires_grad and owner not in called:
            silent.append(name)
    if silent:
        raise ValueError(
            f"the layer of {', '.join(silent)} is not called in the forward pass, and without that "
            "the gradients of single examples are not known there: write self.layer(x) instead of "
            "F.linear(x, self.layer.weight), and requires_grad_(False) for what is not used"
        )


@torch.no_grad()
def check_alone(model: nn.Module, x: Tensor) -> None:
    """Raises ValueError if what the model makes of an image depends on the image beside it.

    x: one image, (1, channels, height, width). Its negative is put beside it.
    """
    alone = model(x)
    beside = model(torch.cat([x, 1 - x]))[:1]
    if (beside - alone).abs().max() > _ALIKE * alone.abs().max():
        raise ValueError(
            "this model makes something else of an image when another one is beside it, so no "
            "example has a gradient of its own to be clipped; treat each image by itself"
        )


def check_delta(delta: float, examples: int) -> None:
    """Raises ValueError for a δ that would allow the data of one example to be published."""
    if delta >= 1 / examples:
        raise ValueError(
            f"delta is below one over the number of examples, 1/{examples}, got {delta:g}: with "
            "more, publishing an example at random would count as private"
        )


def multiplier_of(row: Iterable[Defense]) -> float:
    """The noise of these defences in units of the clip before it: the noise multiplier.

    Raises ValueError unless a clip is followed by Gaussian noise, with nothing between them that
    could make the update longer or that depends on the images.
    """
    bound, sigma, sent = math.inf, 0.0, False
    for defense in require_row(row):
        if defense.effect is Effect.ADDS:
            _check_noise(defense, bound)
            sigma = sigma if sent else math.hypot(sigma, defense.sigma)
        elif sigma:
            _check_after(defense)
            sent = True
        else:
            shortens = defense.effect in (Effect.REMOVES, Effect.SCALES)
            bound = min(defense.bound, bound if shortens else math.inf)
    if not sigma:
        raise ValueError(
            "there is no noise among these defences, so nothing is differentially private; "
            "pass such as [clip(1.0), noise(0.1)]"
        )
    return sigma / bound


def _check_noise(defense: Defense, bound: float) -> None:
    if math.isinf(bound):
        raise ValueError(
            f"{defense.name} has no clip before it: an update may be as long as it likes, no noise "
            "covers that, and this is not differential privacy; clip first: "
            "[clip(1.0), noise(0.1)]"
        )
    if defense != noise(defense.sigma):
        raise ValueError(
            f"{defense.name} is not Gaussian: a clip bounds the length √Σg², which the accountant "
            "sets against Gaussian noise; use noise(sigma)"
        )


def _check_after(defense: Defense) -> None:
    """Raises ValueError for a defence after the noise that may look at the images again."""
    if defense.effect in (Effect.REMOVES, Effect.UNKNOWN):
        raise ValueError(
            f"{defense.name} comes after the noise, and may depend on the images themselves, which "
            "no noise covers then; put it before the clip"
        )


def _of_dropout(name: str) -> str:
    return (
        f"{name} is dropout, whose masks are not drawn here; train without it (p = 0): the noise "
        "of DP-SGD regularises, too"
    )
