"""Rounded corners: near ReLU, in units of what comes in, and only where ReLU is a layer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dlgutils import models


@given(st.integers(0, 100), st.floats(1, 1000))
def test_smooth_relu_layer_is_near_relu(seed, sharpness):
    """softplus lies above ReLU, by at most log 2 widths, at the corner; width = rms / sharpness."""
    x = torch.randn(50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    apart = models.SmoothReLU(sharpness)(x) - x.relu()
    assert (apart >= -1e-12).all()
    assert apart.max() <= 0.7 * x.square().mean().sqrt() / sharpness


def test_smooth_relu_layer_follows_the_size_of_what_comes_in(seeded):
    layer = models.SmoothReLU()
    x = torch.randn(50, generator=seeded(0), dtype=torch.float64)
    torch.testing.assert_close(layer(1000 * x), 1000 * layer(x))
    assert layer(torch.zeros(5)).isfinite().all()


@pytest.mark.parametrize("sharpness", [0, -1.0, float("nan")])
def test_smooth_relu_layer_refuses_a_sharpness_that_is_not_positive(sharpness):
    with pytest.raises(ValueError, match=f"sharpness must be positive, got {sharpness}"):
        models.SmoothReLU(sharpness)


def test_smooth_relu_has_the_same_parameters_and_leaves_the_model_alone():
    model = models.lenet(activation=nn.ReLU)
    soft = models.smooth_relu(model, 32)
    assert [n for n, _ in soft.named_parameters()] == [n for n, _ in model.named_parameters()]
    rounded = [layer for layer in soft.modules() if isinstance(layer, models.SmoothReLU)]
    assert [layer.sharpness for layer in rounded] == [32] * 3
    assert sum(isinstance(layer, nn.ReLU) for layer in model.modules()) == 3


def test_smooth_relu_refuses_a_model_without_corners():
    message = r"this LeNet has no nn\.ReLU layer to round; functional calls"
    with pytest.raises(ValueError, match=message):
        models.smooth_relu(models.lenet())
