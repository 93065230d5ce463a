"""The book's attacks as a script for a page: what PyTorch would do, in JavaScript, for a reader without a kernel."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.func import grad_and_value

from dlgutils import attacks, data, federated, models
from dlgutils.javascript import translate
from dlgutils.matching.problem import objective
from dlgutils.types import Attack, Guess, Tensors, nothing

ATTACKS = (attacks.idlg, attacks.mask_reading, attacks.dlg, attacks.idlg_fresh_masks)
"""The recipes that a page can run."""

_WORKER = Path(__file__).parent / "static" / "worker.js"
with torch.random.fork_rng(devices=[]):  # an import draws nothing from the global generator
    _MODEL = models.lenet(dropout=0.5)  # weights and rate do not matter: both come from outside
_MASK = "dropout.mask"
_WIDE = 0.5  # the bound of models.init_uniform


@cache
def worker_source() -> str:
    """The source of a worker that attacks a `models.lenet` of 3×32×32 images and 12 classes with any of `ATTACKS`.

    It is generated from the graphs of `federated.gradient` and `matching.objective`; written by hand are the optimisers, the
    random numbers, and the rules by which label and mask are read. Takes a few seconds, once.
    """
    generator = Generator().manual_seed(0)
    shared = federated.share(_MODEL, data.photos("cat"), generator)
    transform = attacks.idlg.transform
    x = transform.encode(torch.full(shared.x_shape, 0.5))
    mask, y = models.draw_masks(_MODEL, 1, generator)[_MASK], torch.full((1, 12), 1 / 12)
    functions: dict[str, tuple[Callable[[Tensors], Tensors], Tensors]] = {
        "share": (_gradient, {"x": x, "y": y, "mask": mask, **_named("weights", shared.weights)}),
        "picture": (lambda t: {"x": transform.decode(t["x"])}, {"x": x}),
    }
    objectives: dict[object, str] = {}
    described = {}
    for attack in ATTACKS:
        what = (attack.decode, attack.distance, attack.prior, attack.transform)
        name = objectives.setdefault(what, f"objective{len(objectives)}")
        inferred = attack.infer(_MODEL, shared)
        unknowns = _page_tensors(attack.start(_MODEL, shared, generator))
        known = {"mask": mask} if "logits" in unknowns else {"mask": mask, "logits": y.log()}
        shared_tensors = {
            **_named("weights", shared.weights),
            **_named("gradient", shared.gradient),
        }
        functions[name] = (
            _slopes(attack, tuple(unknowns), tuple(known)),
            {**unknowns, **known, **shared_tensors},
        )
        described[attack.name] = {
            "objective": name,
            "unknowns": {key: t.numel() for key, t in unknowns.items()},
            "readsLabel": inferred.y is not None,
            "readsMask": _MASK in inferred.masks,
            "draws": attack.draw is not nothing,
            "optimizer": attack.optimizer.name,
        }
    network = {
        "parameters": _parameters(),
        "features": mask.numel(),
        "classes": y.numel(),
        "attacks": described,
    }
    script = _WORKER.read_text(encoding="utf-8")
    return f"{translate.compile(functions)}\nconst network = {json.dumps(network)};\n\n{script}"


def _gradient(t: Tensors) -> Tensors:
    return federated.gradient(_part(t, "weights"), _MODEL, t["x"], t["y"], {_MASK: t["mask"]})


def _slopes(
    attack: Attack, unknowns: tuple[str, ...], known: tuple[str, ...]
) -> Callable[[Tensors], Tensors]:
    """The matching loss as "value", and its slope in each unknown as "slope.x" and so on."""

    def function(t: Tensors) -> Tensors:
        given = _guess({key: t[key] for key in known})

        def loss(guess: Tensors) -> Tensor:
            weights, gradient = _part(t, "weights"), _part(t, "gradient")
            return objective(_MODEL, attack, _guess(guess), given, weights, gradient)

        slopes, value = grad_and_value(loss)({key: t[key] for key in unknowns})
        return {"value": value, **_named("slope", slopes)}

    return function


def _page_tensors(guess: Guess) -> Tensors:
    """The tensors of a guess as the page calls them: x, logits and mask."""
    tensors = {"x": guess.x, "logits": guess.y, "mask": guess.masks.get(_MASK)}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _guess(tensors: Tensors) -> Guess:
    """The guess of tensors that the page calls so; a label that is known has logits 0 and −∞."""
    masks = {_MASK: tensors["mask"]} if "mask" in tensors else {}
    return Guess(tensors.get("x"), tensors.get("logits"), masks)


def _parameters() -> list[tuple[str, int, dict[str, float]]]:
    """Name, size and the bound of the uniform draw of every parameter, under both initialisations of the book."""
    layers = dict(_MODEL.named_modules())
    return [
        (
            name,
            p.numel(),
            {"default": layers[name.rpartition(".")[0]].weight[0].numel() ** -0.5, "wide": _WIDE},
        )
        for name, p in _MODEL.named_parameters()
    ]


def _named(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}.{name}": t for name, t in tensors.items()}


def _part(tensors: Tensors, prefix: str) -> Tensors:
    return {
        name.removeprefix(f"{prefix}."): t
        for name, t in tensors.items()
        if name.startswith(f"{prefix}.")
    }
