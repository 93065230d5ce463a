"""All that is computed from a round is computed where the round is, found without a GPU.

On a pretended device (`helpers.elsewhere`) every recipe, reading, defence, limit and audit gets the
same numbers as on the CPU, and nothing meets a tensor that was left there.
"""

from dataclasses import fields, is_dataclass, replace

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vmap

import dlgutils as du
from dlgutils import attacks
from dlgutils.analytic import closed_form, features, labels, limits, masks, separation, spectrum
from dlgutils.federated import averaging, defenses, honest
from dlgutils.matching import weighing
from dlgutils.matching.problem import Problem
from dlgutils.matching.tracing import traced
from dlgutils.testing import tiny_round
from tests.helpers import elsewhere
from tests.helpers.elsewhere import Elsewhere, moved, pretended

pytestmark = pytest.mark.skipif(
    not elsewhere.CAN_REGISTER, reason="this version of torch takes no device from Python"
)
RECIPES = [value for value in vars(attacks).values() if isinstance(value, du.Attack)]
ONE = tiny_round()
WHOLE = tiny_round(dropout=0.0)
TWO = tiny_round(batch=2)


def tensors(value):
    """All tensors in a result of the library, in order."""
    if isinstance(value, Tensor):
        return [value]
    if is_dataclass(value):
        value = [getattr(value, field.name) for field in fields(value)]
    elif hasattr(value, "values"):
        value = list(value.values())
    found = []
    if isinstance(value, (list, tuple)):
        for part in value:
            found.extend(tensors(part))
    return found


def check_same(function, *args):
    """The function returns the same on both devices, and all of it where its arguments are."""
    here = tensors(function(*args))
    with pretended():
        there = tensors(function(*[moved(arg) for arg in args]))
    assert len(there) == len(here) > 0
    for one, other in zip(here, there, strict=True):
        assert isinstance(other, Elsewhere)
        assert torch.allclose(other.cpu(), one, equal_nan=True)


def fresh(*layers):
    """A network of these layers, and what a client shares of an 8×8 image, or of three if flat."""
    generator = torch.Generator().manual_seed(0)
    images = 3 if isinstance(layers[0], nn.Flatten) else 1
    x = torch.rand(images, 1, 8, 8, generator=generator, dtype=torch.float64)
    model = nn.Sequential(*layers).double()
    one = honest(model, du.Batch(x, torch.arange(images)), generator)
    return one.model, one.shared


def attack(model, shared, recipe=attacks.idlg, steps=3):
    result = du.invert(model, shared, recipe, seeds=[0], steps=steps)
    return result.x, result.y, result.loss, result.frames


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_recipe_is_the_same_elsewhere(recipe):
    check_same(lambda model, shared: attack(model, shared, recipe), ONE.model, ONE.shared)


@pytest.mark.slow
def test_a_long_attack_whose_program_is_traced():
    """Slow, about 5 s. Rounding differs: on the CPU, programs are run by TorchScript."""
    check_same(lambda model, shared: attack(model, shared, steps=40), ONE.model, ONE.shared)


def test_a_trace_follows_its_inputs():
    with pretended():
        rounds = [moved(ONE.shared)] * 2
        problem = Problem(moved(ONE.model), rounds, attacks.idlg, [0, 1], None)
        evaluate = vmap(grad_and_value(problem.objective))
        graph = traced(evaluate, problem.start, {}, problem.given)
        elsewhere_now = problem.start + 0.1
        for one, other in zip(
            graph(elsewhere_now, {}, problem.given),
            evaluate(elsewhere_now, {}, problem.given),
            strict=True,
        ):
            assert torch.allclose(one.cpu(), other.cpu())


@pytest.mark.parametrize("rule", ["read", "most_likely", "by_sign", "by_row_sum"])
def test_every_label_rule_is_the_same_elsewhere(rule):
    check_same(getattr(labels, rule), ONE.shared)


slow = pytest.mark.slow(reason="a search of seconds, each operation of which goes through Python")

READINGS = {
    "masks": (masks.read, *ONE[::2]),
    "features of one": (features.read, *ONE[::2]),
    "closed form": (closed_form.recover, *WHOLE[::2]),
    "closed form behind dropout": (closed_form.recover, *ONE[::2]),
    "spectrum": (spectrum.spectrum, WHOLE.model, WHOLE.secret),
}


SEARCHES = {
    "features of two": (features.read, *TWO[::2]),
    "a batch as rounds": (features.split, *TWO[::2]),
    "separation by dropout": (separation.separate, *TWO[::2]),
    "separation": (separation.separate, *tiny_round(batch=2, dropout=0.0)[::2]),
}


@pytest.mark.parametrize("case", READINGS.values(), ids=READINGS)
def test_every_reading_is_the_same_elsewhere(case):
    check_same(*case)


@slow
@pytest.mark.parametrize("case", SEARCHES.values(), ids=SEARCHES)
def test_every_search_is_the_same_elsewhere(case):
    check_same(*case)


NETWORKS = {
    "ReLU": (nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 4)),
    "pool": (
        *(nn.Conv2d(1, 8, 3, padding=1), nn.Sigmoid(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(128, 4)),
    ),
}


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
def test_closed_form_of_other_networks(layers):
    check_same(closed_form.recover, *fresh(*layers))


@slow
def test_separation_through_several_linear_layers():
    layers = (nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    check_same(features.split, *fresh(*layers))


def test_limits_and_the_largest_singular_values():
    def limit(model, secret):
        found = spectrum.spectrum(model, secret)
        largest = spectrum.spectrum(model, secret, largest=3).singular_values
        prior = limits.photographs(tuple(secret.x.shape))
        return found.limit(1e-3), limits.bayesian_limit([found.root], 1e-3, prior), largest

    check_same(limit, WHOLE.model, WHOLE.secret)


DEFENSES = {
    "noise": lambda model, secret: defenses.noise(1e-3),
    "laplace": lambda model, secret: defenses.laplace(1e-3),
    "clip": lambda model, secret: defenses.clip(0.05),
    "top_k": lambda model, secret: defenses.top_k(0.3),
    "prune_random": lambda model, secret: defenses.prune_random(0.5),
    "quantized": lambda model, secret: defenses.quantized(8),
    "half_precision": lambda model, secret: defenses.half_precision(),
    "sign": lambda model, secret: defenses.sign(),
    "soteria": lambda model, secret: defenses.soteria(model, secret.x, 0.6),
    "unknown": lambda model, secret: defenses.unknown(),
}


@pytest.mark.parametrize("make", DEFENSES.values(), ids=DEFENSES)
def test_every_defense_and_who_knows_it_is_the_same_elsewhere(make):
    def defend_and_attack(model, secret):
        generator = torch.Generator().manual_seed(3)
        shared = du.share(model, secret, generator, defenses=[make(model, secret)])
        return shared.gradient, attack(model, shared)

    check_same(defend_and_attack, WHOLE.model, WHOLE.secret)


PROTOCOLS = {
    "two steps": du.Protocol(steps=2, lr=0.1),
    "momentum": du.Protocol(steps=2, lr=0.1, momentum=0.5),
    "unknown scale": du.Protocol(scale=None),
}


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_every_protocol_is_the_same_elsewhere(protocol):
    def share_and_attack(model, secret):
        honest = replace(protocol, scale=1.0) if protocol.scale is None else protocol
        shared = replace(du.share(model, secret, protocol=honest), protocol=protocol)
        return shared.gradient, attack(model, shared)

    check_same(share_and_attack, WHOLE.model, WHOLE.secret)


def test_average_and_the_most_probable_image():
    def search(model, secret):
        generator = torch.Generator().manual_seed(3)
        row = [defenses.noise(1e-3)]
        rounds = [du.share(model, secret, generator, defenses=row) for _ in range(2)]
        mean = averaging.average(rounds)
        recipe = weighing.weighing_noise(attacks.idlg, 1e-3)
        return mean.gradient, attack(model, mean, recipe)

    check_same(search, WHOLE.model, WHOLE.secret)


def test_a_tensor_that_was_left_on_the_cpu_is_found():
    with pretended():
        there = torch.ones(4, device=elsewhere.NAME)
        assert (there + torch.tensor(1.0)).tolist() == [2.0] * 4
        assert there[torch.tensor([0, 1])].tolist() == [1.0] * 2
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(4)
        with pytest.raises(RuntimeError, match="same device"):
            torch.ones(4)[there.long()]
