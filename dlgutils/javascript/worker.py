"""The book's attacks as a script that runs in a page, for readers without a kernel."""

import itertools
import json
from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

from torch import nn

from dlgutils import attacks
from dlgutils.javascript import page_defenses, page_functions
from dlgutils.javascript.bundle import bundle
from dlgutils.javascript.page_defenses import DEFENSES
from dlgutils.javascript.page_functions import ACTIVATIONS, MASK, Example
from dlgutils.javascript.translate import STATIC, Function, compile
from dlgutils.protocol import Defense
from dlgutils.types import Attack, Optimizer, nothing

ATTACKS = (
    attacks.idlg,
    attacks.mask_reading,
    attacks.dlg,
    attacks.idlg_fresh_masks,
    attacks.features,
)
"""The recipes that a page can run; the last matches features, of one image, without a defence."""

BATCHES = (1, 2, 4)
"""How many images a page attacks together."""

_WIDE = 0.5  # the bound of models.init_uniform
_SETTINGS = {"lbfgs": {"history"}, "adam": {"lr", "betas", "eps"}}
"""The optimisers of optimizers.js, and the settings that they take."""

_FIXED = {"line_search": True, "signed": False, "box": None, "patience": None}
"""The settings for which optimizers.js has this value only."""


@cache
def worker_source() -> str:
    """The source of a worker that runs any of `ATTACKS` on a LeNet of 3×32×32 images, 12 classes.

    It has the defences of `page_defenses`. Takes some ten seconds, once; see `compile_attacks`.
    """
    return compile_attacks(ATTACKS, defenses=DEFENSES)


def compile_attacks(
    recipes: Sequence[Attack],
    activations: Sequence[str] = tuple(ACTIVATIONS),
    batches: Sequence[int] = BATCHES,
    defenses: Mapping[str, Defense] = MappingProxyType({}),
) -> str:
    """The source of a worker that runs any of these attacks on a `models.lenet` for photographs.

    It is generated from the graphs of `federated.gradient`, `matching.objective`, and the defences.
    Written by hand are the optimisers, the random numbers, the noise, and the rules by which label
    and mask are read.

    Args:
        recipes: some of `ATTACKS`, or copies of them with another name, distance, prior or
            optimizer; with defences, no prior.
        activations: some of "sigmoid" and "relu".
        batches: how many images a client may have.
        defenses: by the names that the reader sees; those that draw anything are noise.

    Raises NotImplementedError for an optimiser or an operation that a page does not have, and for
    another start, inference, draw, decoding or transform than those of `ATTACKS`; with
    defences, for a prior.
    """
    one = page_functions.example()
    objectives = name_objectives(recipes)
    descriptions = {}
    for attack in recipes:
        described = describe_attack(attack, one)
        descriptions[attack.name] = {"objective": objectives[attack.name], **described}
    network = {
        "parameters": describe_parameters(one.model),
        "features": one.mask.numel(),
        "classes": one.shared.classes,
        "attacks": descriptions,
        "defenses": page_defenses.describe_defenses(defenses),
    }
    by_objective = {objectives[attack.name]: attack for attack in recipes}
    of_gradients = {name: match for name, match in by_objective.items() if match.compare is None}
    functions = _functions_of_image(one)
    if defenses:
        functions |= page_defenses.functions_of_gradient(of_gradients, defenses, one)
    for activation, batch in itertools.product(activations, batches):
        example = page_functions.example(activation, batch)
        objectives_here = by_objective if batch == 1 else of_gradients
        of_network = _functions_of_network(objectives_here, example, bool(defenses))
        for name, function in of_network.items():
            functions[f"{name}_{activation}_{batch}"] = function
    facts = f"const network = {json.dumps(network)};\n"
    return "\n".join([compile(functions), facts, bundle(STATIC / "worker.js")])


def _functions_of_image(example: Example) -> dict[str, Function]:
    transform = attacks.idlg.transform
    return {
        "picture": page_functions.picture(transform, example),
        "unknowns": page_functions.unknowns(transform, example),
    }


def _functions_of_network(
    by_objective: Mapping[str, Attack], example: Example, defended: bool
) -> dict[str, Function]:
    """What differs between activations and batches; of all attacks guesses are decoded alike."""
    functions = {"share": page_functions.client_gradient(example)}
    for name, attack in by_objective.items():
        functions[name] = page_functions.loss_and_slopes(attack, example)
    if defended:
        functions["made"] = page_defenses.made(attacks.idlg, example)
        functions["slopes"] = page_defenses.slopes(attacks.idlg, example)
    return functions


def name_objectives(recipes: Sequence[Attack]) -> dict[str, str]:
    """{attack: name of its objective}; attacks that match alike share one."""
    objectives: dict[tuple, str] = {}
    names = {}
    for attack in recipes:
        same = (attack.decode, attack.distance, attack.prior, attack.transform, attack.compare)
        names[attack.name] = objectives.setdefault(same, f"objective{len(objectives)}")
    return names


def describe_attack(attack: Attack, example: Example) -> dict[str, Any]:
    """What worker.js needs to know about an attack of one image, but its objective; for JSON.

    Raises NotImplementedError as `compile_attacks` does.
    """
    if _by_hand(attack) not in map(_by_hand, ATTACKS):
        raise NotImplementedError(
            f"{attack.name} is not one of a page's attacks with another name, distance, prior or "
            f"optimizer: {', '.join(known.name for known in ATTACKS)}; run it with invert"
        )
    start = page_functions.to_page(attack.start(example.model, example.shared, None))
    inferred = attack.infer(example.model, example.shared)
    return {
        "unknowns": {name: tensor.numel() for name, tensor in start.items()},
        "readsLabel": inferred.y is not None,
        "readsMask": MASK in inferred.masks,
        "readsFeatures": attack.compare is not None,
        "draws": attack.draw is not nothing,
        "optimizer": describe_optimizer(attack.optimizer),
    }


def describe_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """Name and settings of an optimiser as optimizers.js takes them; for JSON.

    Raises NotImplementedError for an optimiser, or a setting, that a page does not have.
    """
    name, settings = optimizer.name, dict(optimizer.settings)
    remedy = (
        "a page has optimizers.lbfgs(history=...) and optimizers.adam(lr=..., betas=..., eps=...); "
        "take one of them, or run the attack in Python with invert"
    )
    if name not in _SETTINGS:
        raise NotImplementedError(f"a page has no optimiser {name!r}; {remedy}")
    for setting, only in _FIXED.items():
        if settings.pop(setting, only) != only:
            value = optimizer.settings[setting]
            raise NotImplementedError(f"a page has no {name} with {setting}={value!r}; {remedy}")
    if settings.keys() != _SETTINGS[name]:
        raise NotImplementedError(
            f"the {name} of a page takes the settings {sorted(_SETTINGS[name])}, "
            f"got {sorted(settings)}; {remedy}"
        )
    return {"name": name, "settings": settings}


def _by_hand(attack: Attack) -> tuple:
    """What worker.js does by itself for an attack, or relies on."""
    return attack.start, attack.infer, attack.draw, attack.decode, attack.transform, attack.compare


def describe_parameters(model: nn.Module) -> list[tuple[str, int, dict[str, float]]]:
    """Name and size of each parameter, and the bounds of its uniform draw; for JSON.

    The bounds are those of the two initialisations of the book, "default" and "wide".
    """
    described = []
    for name, parameter in model.named_parameters():
        layer = model.get_submodule(name.rpartition(".")[0])
        inputs = layer.weight[0].numel()
        bounds = {"default": inputs**-0.5, "wide": _WIDE}
        described.append((name, parameter.numel(), bounds))
    return described
