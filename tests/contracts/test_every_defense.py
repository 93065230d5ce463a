"""One contract for every defence, and every recipe against every defence."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlgutils import Attack, Protocol, attacks, invert, share
from dlgutils.federated import defenses
from dlgutils.matching import objectives, starts
from dlgutils.testing import tiny_round
from dlgutils.types import Guess

RECIPES = [recipe for recipe in vars(attacks).values() if isinstance(recipe, Attack)]
MODEL, SECRET, SHARED, MASKS = tiny_round(dropout=0.0)
DROPPED = tiny_round(dropout=0.5)

DETERMINISTIC = [
    defenses.clip(0.05),
    defenses.clip(1e3),
    defenses.top_k(0.2),
    defenses.quantized(4),
    defenses.quantized(12),
    defenses.half_precision(),
    defenses.sign(),
    defenses.soteria(MODEL, SECRET.x, 0.6),
]
RANDOM = [defenses.noise(1e-3), defenses.laplace(1e-3), defenses.prune_random(0.5)]
ROWS = [
    [defenses.clip(0.05), defenses.noise(1e-3)],
    [defenses.clip(0.05), defenses.top_k(0.5), defenses.quantized(8)],
    [defenses.noise(1e-3), defenses.top_k(0.3)],
    [defenses.noise(1e-3), defenses.half_precision()],
    [defenses.top_k(0.5), defenses.sign()],
    [defenses.unknown()],
]
EVERY = [[defense] for defense in DETERMINISTIC + RANDOM] + ROWS


def name_of(row):
    return " + ".join(defense.name for defense in row)


every_row = pytest.mark.parametrize("row", EVERY, ids=name_of)
deterministic = pytest.mark.parametrize("defense", DETERMINISTIC, ids=lambda d: d.name)
several = pytest.mark.parametrize(
    "row", [row for row in EVERY if all(d in DETERMINISTIC for d in row)], ids=name_of
)


def gradient(seed, size=1.0):
    """A gradient of three tensors of different lengths, in float64."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a.weight": (7, 5), "a.bias": (7,), "fc.weight": (4, 48)}
    made = {}
    for k, (name, shape) in enumerate(shapes.items()):
        numbers = torch.randn(shape, generator=generator, dtype=torch.float64)
        made[name] = size * 10.0**-k * numbers
    return made


@every_row
def test_defense_keeps_names_shapes_and_what_it_was_given(row, seeded):
    before = {name: g.clone() for name, g in SHARED.gradient.items()}
    shapes = {name: g.shape for name, g in before.items()}
    found = defenses.defend(SHARED, row, seeded(0))
    assert {name: g.shape for name, g in found.gradient.items()} == shapes
    assert all(g.isfinite().all() for g in found.gradient.values())
    assert all(SHARED.gradient[name].equal(g) for name, g in before.items())
    assert found.protocol.defenses == tuple(row)
    assert not found.protocol.exact


@every_row
def test_defense_follows_its_generator(row, seeded):
    first, second = (defenses.defend(SHARED, row, seeded(3)).gradient for _ in range(2))
    assert all(g.equal(second[name]) for name, g in first.items())


@several
@given(seed=st.integers(0, 99), size=st.floats(1e-3, 1e3))
def test_imitate_of_what_was_sent_is_what_was_sent(row, seed, size):
    sent = gradient(seed, size)
    for defense in row:
        sent = defense(sent)
    made = defenses.imitate(row, sent, sent)
    for name, g in sent.items():
        torch.testing.assert_close(made[name].double(), g.double(), rtol=1e-12, atol=0)


@several
@given(seed=st.integers(0, 99), size=st.floats(1e-3, 1e3))
def test_imitate_of_the_right_gradient_is_what_was_sent(row, seed, size):
    made = gradient(seed, size)
    sent = made
    for defense in row:
        sent = {name: g.double() for name, g in defense(sent).items()}
    imitated = defenses.imitate(row, made, sent)
    for name, g in sent.items():
        torch.testing.assert_close(imitated[name], g, rtol=1e-12, atol=0)


@several
def test_knowing_attacker_finds_no_distance_at_the_true_image(row):
    """And at another image some; by the engine itself, with all that it does to a round."""
    told = replace(attacks.idlg, infer=lambda *_: Guess(y=SECRET.y), transform=None)
    seen = share(MODEL, SECRET, defenses=row)
    at_truth = invert(MODEL, seen, told, start=SECRET.x[None], steps=1)
    assert at_truth.loss[0, 0] < 1e-24
    elsewhere = invert(MODEL, seen, told, start=1 - SECRET.x[None], steps=1)
    assert elsewhere.loss[0, 0] > 1e-9


@pytest.mark.parametrize("scale", [3.0, None])
@several
def test_knowing_attacker_takes_the_scale_into_account(row, scale):
    seen = share(MODEL, SECRET, protocol=Protocol(scale=3.0), defenses=row)
    seen = replace(seen, protocol=replace(seen.protocol, scale=scale))
    told = replace(attacks.idlg, infer=lambda *_: Guess(y=SECRET.y), transform=None)
    at_truth = invert(MODEL, seen, told, start=SECRET.x[None], steps=1)
    assert at_truth.loss[0, 0] < (1e-24 if scale else 1e-5)


@every_row
@pytest.mark.parametrize("attack", RECIPES, ids=lambda a: a.name)
def test_every_recipe_runs_against_every_defense_or_refuses(attack, row, seeded):
    for model, _, shared, _ in (DROPPED, (MODEL, SECRET, SHARED, MASKS)):
        seen = defenses.defend(shared, row, seeded(1))
        try:
            found = invert(model, seen, attack, seeded(2), steps=6)
        except ValueError:
            continue
        assert found.x.isfinite().all()
        assert found.loss[:, 0].isfinite().all()
        assert "changed on its way" in found.checked


def test_gradient_matching_runs_against_every_defense(seeded):
    """DLG needs no reading, so nothing can stop it."""
    for row in EVERY:
        seen = defenses.defend(SHARED, row, seeded(1))
        assert invert(MODEL, seen, attacks.dlg, steps=3).loss.isfinite().all()


@pytest.mark.parametrize("distance", [objectives.cosine_distance, objectives.squared_error])
@several
def test_imitation_suits_other_distances(distance, row):
    told = replace(
        attacks.idlg, infer=lambda *_: Guess(y=SECRET.y), transform=None, distance=distance
    )
    seen = share(MODEL, SECRET, defenses=row)
    assert invert(MODEL, seen, told, start=SECRET.x[None], steps=1).loss[0, 0] < 1e-24


def test_several_local_steps_are_repeated_before_the_defenses():
    row = (defenses.clip(0.05), defenses.quantized(8))
    protocol = Protocol(steps=3, lr=0.1, weight_decay=0.01, scale=-2.0, defenses=row)
    seen = share(MODEL, SECRET, protocol=protocol)
    assert seen.protocol == protocol
    told = replace(attacks.idlg, infer=lambda *_: Guess(y=SECRET.y), transform=None)
    assert invert(MODEL, seen, told, start=SECRET.x[None], steps=1).loss[0, 0] < 1e-24


def test_a_long_attack_is_traced_with_its_defenses(seeded):
    """From some thousand evaluations on the objective is replayed as a graph: the same numbers."""
    row = [defenses.clip(0.05), defenses.top_k(0.5), defenses.quantized(8)]
    seen = share(MODEL, SECRET, defenses=row)
    told = replace(attacks.idlg, infer=lambda *_: Guess(y=SECRET.y), start=starts.grey)
    short = invert(MODEL, seen, told, steps=5)
    long = invert(MODEL, seen, told, steps=400, watch=lambda k, *_: k == 5)
    torch.testing.assert_close(short.loss, long.loss, rtol=1e-8, atol=1e-16)
