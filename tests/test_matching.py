"""Distances between gradients: zero at home, in the right units, differentiable."""

import pytest
import torch
from torch.func import grad, vmap

from dlgutils import matching

TARGET = {"weight": torch.tensor([[3.0, 0.0]]), "bias": torch.tensor([4.0])}
ZERO = {name: torch.zeros_like(t) for name, t in TARGET.items()}
DISTANCES = [matching.squared_error, matching.relative_squared_error]


def test_squared_norm_adds_up_over_all_tensors():
    assert matching.squared_norm(TARGET) == 25


@pytest.mark.parametrize(("distance", "value"), [(matching.squared_error, 25), (matching.relative_squared_error, 1)])
def test_distance_of_the_zero_gradient(distance, value):
    assert distance(ZERO, TARGET) == value


@pytest.mark.parametrize("distance", DISTANCES)
def test_only_the_same_gradient_is_at_distance_zero(distance):
    assert distance(TARGET, TARGET) == 0
    assert distance({**TARGET, "bias": torch.tensor([4.5])}, TARGET) > 0


def test_the_relative_error_has_no_unit():
    small = {name: 1e-3 * t for name, t in TARGET.items()}
    guess = {name: 1.5 * t for name, t in TARGET.items()}
    small_guess = {name: 1.5 * t for name, t in small.items()}
    expected = matching.relative_squared_error(guess, TARGET)
    assert matching.relative_squared_error(small_guess, small).isclose(expected)


def test_the_slope_is_twice_the_difference():
    slope = grad(matching.squared_error)(ZERO, TARGET)
    assert all(slope[name].equal(-2 * TARGET[name]) for name in TARGET)


@pytest.mark.parametrize("distance", DISTANCES)
def test_under_vmap_each_run_has_its_own(distance):
    guesses = {name: torch.stack([t, 0 * t]) for name, t in TARGET.items()}
    targets = {name: torch.stack([t, t]) for name, t in TARGET.items()}
    assert vmap(distance)(guesses, targets).tolist() == [0, distance(ZERO, TARGET)]
