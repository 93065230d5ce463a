"""Weights from a generator: which ones, from what distribution, and what is left alone."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dlgutils import models

SHAPE = (1, 6, 6)
INITIALISERS = [models.init_default, models.init_uniform]


@pytest.mark.parametrize("init", INITIALISERS)
def test_init_draws_the_weights_from_the_generator(init, seeded):
    nets = [init(models.lenet(SHAPE), seeded(seed)) for seed in (0, 0, 1)]
    one, same, other = map(models.weights, nets)
    assert all(one[name].equal(same[name]) for name in one)
    assert not any(one[name].equal(other[name]) for name in one)


@pytest.mark.parametrize("init", INITIALISERS)
def test_init_leaves_the_model_and_the_world_as_they_were(init, seeded):
    net = models.lenet(SHAPE).double()
    before = models.weights(net)
    state = torch.get_rng_state()
    fresh = init(net, seeded(0))
    assert torch.get_rng_state().equal(state)
    assert all(p.equal(before[name]) for name, p in net.named_parameters())
    assert next(fresh.parameters()).dtype == torch.float64


def test_init_default_draws_anew_from_the_same_generator(seeded):
    gen = seeded(0)
    first = models.init_default(models.lenet(SHAPE), gen)
    second = models.init_default(models.lenet(SHAPE), gen)
    assert not first.fc.weight.equal(second.fc.weight)


@given(seed=st.integers(0, 2**31))
def test_init_default_is_uniform_within_one_over_the_root_of_the_fan_in(seeded, seed):
    net = models.init_default(models.lenet((3, 16, 16)), seeded(seed))
    for layer in net.modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        bound = 1 / math.sqrt(layer.weight[0].numel())
        assert layer.weight.abs().max() <= bound
        assert layer.bias.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


@given(seed=st.integers(0, 2**31), bound=st.floats(0.1, 2))
def test_init_uniform_draws_weights_and_biases_within_the_bound(seeded, seed, bound):
    net = models.init_uniform(models.lenet(SHAPE), seeded(seed), bound)
    everything = torch.cat([p.flatten() for p in net.parameters()])
    assert 0.99 * bound < everything.abs().max() <= bound
    assert everything.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_weights_are_a_copy():
    net = models.lenet(SHAPE)
    weights = models.weights(net)
    weights["fc.bias"].fill_(9)
    assert not (net.fc.bias == 9).any()
    assert not weights["fc.bias"].requires_grad
