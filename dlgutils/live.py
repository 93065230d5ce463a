"""The book's attacks as a script for a page: what PyTorch would do, in JavaScript, for a reader without a kernel."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.func import grad_and_value

from dlgutils import attacks, client, data, inversion, javascript, models
from dlgutils.types import Attack, Tensors

ATTACKS = (attacks.idlg, attacks.mask_reading, attacks.dlg, attacks.idlg_fresh_masks)
"""The recipes that a page can run."""

_WORKER = Path(__file__).parent / "web" / "worker.js"
with torch.random.fork_rng(devices=[]):  # an import draws nothing from the global generator
    _MODEL = models.lenet(dropout=0.5)  # weights and rate do not matter: both come from outside
_MASK = "dropout.mask"
_WIDE = 0.5  # the bound of models.init_uniform


@cache
def script() -> str:
    """The source of a worker that attacks a `models.lenet` of 3×32×32 images and 12 classes with any of `ATTACKS`.

    It is generated from the graphs of `client.gradient` and `inversion.objective`; written by hand are the optimisers, the
    random numbers, and the rules by which label and mask are read. Takes a few seconds, once.
    """
    generator = Generator().manual_seed(0)
    shared = client.share(_MODEL, data.photos("cat"), generator)
    coordinates = attacks.idlg.coordinates
    x = coordinates.encode(torch.full(shared.x_shape, 0.5))
    mask, y = models.draw_masks(_MODEL, 1, generator)[_MASK], torch.full((1, 12), 1 / 12)
    functions: dict[str, tuple[Callable[[Tensors], Tensors], Tensors]] = {
        "share": (_gradient, {"x": x, "y": y, "mask": mask, **_named("weights", shared.weights)}),
        "picture": (lambda t: {"x": coordinates.decode(t["x"])}, {"x": x}),
    }
    objectives: dict[object, str] = {}
    described = {}
    for attack in ATTACKS:
        what = (attack.decode, attack.distance, attack.prior, attack.coordinates)
        name = objectives.setdefault(what, f"objective{len(objectives)}")
        unknowns, reads = attack.start(_MODEL, shared, generator), attack.read(_MODEL, shared)
        known = {"mask": mask, **({"y": y} if "y" in reads else {})}
        example = {**unknowns, **known, **_named("weights", shared.weights), **_named("gradient", shared.gradient)}
        functions[name] = (_slopes(attack, tuple(unknowns), tuple(known)), example)
        described[attack.name] = {
            "objective": name,
            "unknowns": {key: t.numel() for key, t in unknowns.items()},
            "reads": ["mask" if key == _MASK else key for key in reads],
            "draws": bool(attack.draw(_MODEL, shared, generator)),
            "optimizer": attack.optimizer.name,
        }
    network = {"parameters": _parameters(), "features": mask.numel(), "classes": y.numel(), "attacks": described}
    return f"{javascript.module(functions)}\nconst network = {json.dumps(network)};\n\n{_WORKER.read_text(encoding='utf-8')}"


def _gradient(t: Tensors) -> Tensors:
    return client.gradient(_part(t, "weights"), _MODEL, t["x"], t["y"], {_MASK: t["mask"]})


def _slopes(attack: Attack, unknowns: tuple[str, ...], known: tuple[str, ...]) -> Callable[[Tensors], Tensors]:
    """The matching loss as "value", and its slope in each unknown as "slope.x" and so on."""

    def function(t: Tensors) -> Tensors:
        given = {_MASK if key == "mask" else key: t[key] for key in known}

        def loss(guess: Tensors) -> Tensor:
            return inversion.objective(_MODEL, attack, guess, given, _part(t, "weights"), _part(t, "gradient"))

        slopes, value = grad_and_value(loss)({key: t[key] for key in unknowns})
        return {"value": value, **_named("slope", slopes)}

    return function


def _parameters() -> list[tuple[str, int, dict[str, float]]]:
    """Name, size and the bound of the uniform draw of every parameter, under both initialisations of the book."""
    layers = dict(_MODEL.named_modules())
    return [
        (name, p.numel(), {"default": layers[name.rpartition(".")[0]].weight[0].numel() ** -0.5, "wide": _WIDE})
        for name, p in _MODEL.named_parameters()
    ]


def _named(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}.{name}": t for name, t in tensors.items()}


def _part(tensors: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
