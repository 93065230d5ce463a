"""Distances between gradients: zero at home, in the right units, differentiable."""

import pytest
import torch
from torch.func import grad, vmap

from dlgutils.matching import objectives

TARGET = {"weight": torch.tensor([[3.0, 0.0]]), "bias": torch.tensor([4.0])}
ZERO = {name: torch.zeros_like(t) for name, t in TARGET.items()}
SQUARES = [objectives.squared_error, objectives.relative_squared_error]
DISTANCES = [*SQUARES, objectives.cosine_distance]


def test_squared_norm_adds_up_over_all_tensors():
    assert objectives.squared_norm(TARGET) == 25


@pytest.mark.parametrize(
    ("distance", "value"), [(objectives.squared_error, 25), (objectives.relative_squared_error, 1)]
)
def test_distance_of_the_zero_gradient_is_known(distance, value):
    assert distance(ZERO, TARGET) == value


@pytest.mark.parametrize("distance", DISTANCES)
def test_distance_is_zero_only_for_the_same_gradient(distance):
    assert distance(TARGET, TARGET) == 0
    assert distance({**TARGET, "bias": torch.tensor([4.5])}, TARGET) > 0


def test_relative_squared_error_has_no_unit():
    small = {name: 1e-3 * t for name, t in TARGET.items()}
    guess = {name: 1.5 * t for name, t in TARGET.items()}
    small_guess = {name: 1.5 * t for name, t in small.items()}
    expected = objectives.relative_squared_error(guess, TARGET)
    assert objectives.relative_squared_error(small_guess, small).isclose(expected)


def test_squared_error_has_twice_the_difference_as_slope():
    slope = grad(objectives.squared_error)(ZERO, TARGET)
    assert all(slope[name].equal(-2 * TARGET[name]) for name in TARGET)


def test_cosine_distance_sees_angles_only():
    guess = {"weight": torch.tensor([[0.0, 2.0]]), "bias": torch.tensor([0.0])}
    assert objectives.cosine_distance(guess, TARGET) == 1
    opposite = {name: -3 * t for name, t in TARGET.items()}
    parallel = {name: 7 * t for name, t in TARGET.items()}
    assert objectives.cosine_distance(opposite, TARGET).item() == pytest.approx(2)
    assert objectives.cosine_distance(parallel, TARGET).item() == pytest.approx(0, abs=1e-12)


def test_cosine_distance_keeps_its_digits_at_small_angles():
    """1 − cos of an angle of 1e-5 is 5e-11, far below what 1 − x can hold in float32."""
    turned = {"weight": torch.tensor([[3.0, 5e-5]]), "bias": torch.tensor([4.0])}
    assert objectives.cosine_distance(turned, TARGET).item() == pytest.approx(5e-11, rel=0.01)


def test_total_variation_counts_steps():
    x = torch.zeros(1, 1, 4, 4)
    assert objectives.total_variation(x) == 0
    x[..., 2:] = 1.0  # one step in each of 4 rows of 3 neighbours, none along the columns
    assert objectives.total_variation(x).item() == pytest.approx(1 / 3)
    assert objectives.total_variation(x.mT).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("distance", SQUARES)
def test_distance_under_vmap_is_that_of_each_run(distance):
    guesses = {name: torch.stack([t, 0 * t]) for name, t in TARGET.items()}
    targets = {name: torch.stack([t, t]) for name, t in TARGET.items()}
    assert vmap(distance)(guesses, targets).tolist() == [0, distance(ZERO, TARGET)]
