"""Defences take a gradient and give one: noise of the size that was asked for, in order."""

import pytest
import torch

from dlgutils import Shared
from dlgutils.federated import defenses

GRADIENT = {"weight": torch.ones(50, 40), "bias": torch.zeros(50)}
SHARED = Shared({name: g + 1 for name, g in GRADIENT.items()}, GRADIENT, (1, 1, 8, 8))


def double(gradient, _):
    """A defence that is none: every number twice."""
    return {name: 2 * g for name, g in gradient.items()}


def test_noise_has_its_standard_deviation_in_every_tensor(seeded):
    noisy = defenses.noise(0.1)(GRADIENT, seeded(0))
    assert list(noisy) == list(GRADIENT)
    for name, g in noisy.items():
        added = g - GRADIENT[name]
        assert 0.08 < added.std() < 0.12
        assert added.mean().abs() < 0.05


def test_noise_is_new_at_each_call_and_follows_the_generator(seeded):
    generator, add = seeded(0), defenses.noise(0.1)
    first, second = add(GRADIENT, generator), add(GRADIENT, generator)
    assert not first["weight"].equal(second["weight"])
    assert first["weight"].equal(add(GRADIENT, seeded(0))["weight"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_noise_keeps_the_dtype(seeded, dtype):
    g = {"bias": torch.zeros(3, dtype=dtype)}
    assert defenses.noise(1.0)(g, seeded(0))["bias"].dtype == dtype


@pytest.mark.parametrize("sigma", [-1.0, float("inf"), float("nan")])
def test_noise_refuses_what_is_not_a_standard_deviation(sigma):
    with pytest.raises(ValueError, match=rf"noise has a standard deviation, got {sigma}"):
        defenses.noise(sigma)


def test_defend_applies_its_defenses_in_order_and_leaves_the_round_alone(seeded):
    noise = defenses.noise(1.0)
    twice = defenses.Defense("twice", double)
    found = defenses.defend(SHARED, [noise, twice], seeded(0))
    assert found.protocol.defenses == (noise, twice)
    expected = double(noise(GRADIENT, seeded(0)), None)
    for name, g in found.gradient.items():
        assert g.equal(expected[name])
        assert SHARED.gradient[name].equal(GRADIENT[name])
    assert found.weights is SHARED.weights
    assert found.x_shape == SHARED.x_shape


def test_defend_without_defenses_changes_nothing(seeded):
    assert defenses.defend(SHARED, [], seeded(0)).gradient == GRADIENT
