"""Derivatives of derivatives of whatever PyTorch offers, with unchanged values and slopes."""

import pytest
import torch
from torch import nn
from torch.func import grad, vmap
from torch.nn import functional

from dlgutils import models
from dlgutils.models.forward import TWINS, forward, twice_differentiable

NEEDS = {nn.Threshold: (0.1, 2.0), nn.Softmin: (-1,), nn.Softmax: (-1,), nn.LogSoftmax: (-1,)}
ACTIVATIONS = [
    getattr(nn.modules.activation, name)
    for name in nn.modules.activation.__all__
    if name not in ("MultiheadAttention", "Softmax2d")
]


class Recurrent(nn.Module):
    """A recurrent layer that reads images of one channel row by row."""

    def __init__(self, kind):
        super().__init__()
        self.rnn = kind(6, 5, batch_first=True)

    def forward(self, x):
        """The last state, (batch, 5)."""
        return self.rnn(x[:, 0])[0][:, -1]


class Attention(nn.Module):
    """Rows of an image that look at one another, with or without the weights of attention."""

    def __init__(self, need_weights):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.need_weights = need_weights

    def forward(self, x):
        """(batch, rows, 6)."""
        rows = x[:, 0]
        return self.attention(rows, rows, rows, need_weights=self.need_weights)[0]


class Fused(nn.Module):
    """Fused attention as a function."""

    def forward(self, x):
        """The shape of x."""
        return functional.scaled_dot_product_attention(x, x, x)


def encoder():
    """Two layers of PyTorch's transformer encoder, on rows."""
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    return nn.Sequential(nn.Flatten(0, 1), nn.TransformerEncoder(layer, 2))


LAYERS = {
    **{kind.__name__: lambda kind=kind: kind(*NEEDS.get(kind, ())) for kind in ACTIVATIONS},
    **{kind.__name__: lambda kind=kind: Recurrent(kind) for kind in (nn.LSTM, nn.GRU, nn.RNN)},
    "attention": lambda: Attention(False),
    "attention with its weights": lambda: Attention(True),
    "fused attention": Fused,
    "transformer": encoder,
    "layer norm": lambda: nn.LayerNorm(6),
    "group norm": lambda: nn.GroupNorm(1, 1),
    "batch norm": lambda: nn.BatchNorm2d(1),
    "average": lambda: nn.AdaptiveAvgPool2d(2),
    "maximum": lambda: nn.MaxPool2d(2),
}


def images(seeded):
    """Two runs of two images (1, 6, 6), in float64, near and far from zero."""
    return 3 * torch.randn(2, 2, 1, 6, 6, generator=seeded(0), dtype=torch.float64)


def slope_of(model):
    """The norm of ∂/∂x of a sum over the outputs, as a function of x: to be differentiated."""

    def total(x, weights):
        y = forward(model, weights, x)
        return (y * torch.arange(1.0, 1 + y.numel()).sin().view(y.shape)).sum()

    return lambda x, weights: grad(total)(x, weights).square().sum()


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", LAYERS)
def test_forward_can_be_differentiated_twice_for_many_runs(name, seeded):
    model = LAYERS[name]().double().eval()
    x = images(seeded)
    slope = slope_of(model)
    weights = models.weights(model)
    of_runs = {name: torch.stack([w, w]) for name, w in weights.items()}
    found = vmap(grad(slope))(x, of_runs)
    alone = grad(slope)(x[0], weights)
    torch.testing.assert_close(found[0], alone)
    step = 1e-6 * torch.randn(x[0].shape, generator=seeded(1), dtype=torch.float64)
    by_difference = (slope(x[0] + step, weights) - slope(x[0] - step, weights)) / 2
    torch.testing.assert_close((alone * step).sum(), by_difference, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", LAYERS)
def test_forward_returns_what_the_model_returns_with_the_same_slope(name, seeded):
    model = LAYERS[name]().double().eval()
    x = images(seeded)[0].requires_grad_()
    plain, here = model(x), forward(model, {}, x)
    torch.testing.assert_close(here, plain)
    slopes = [torch.autograd.grad(y.sin().sum(), x)[0] for y in (plain, here)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("original", TWINS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("inplace", [False, True])
def test_a_twin_has_the_value_and_the_slope_of_the_original_at_its_corners_too(original, inplace):
    corners = [-4.0, -3.0, -1.0, 0.0, 2.0, 3.0, 3.5]
    found = []
    for function in (original, TWINS[original]):
        x = torch.tensor(corners, dtype=torch.float64, requires_grad=True)
        inner = x.clone()
        y = function(inner, inplace=inplace)
        (slope,) = torch.autograd.grad(y.sum(), x)
        found.append((y.detach(), slope, inner.detach()))
    for wanted, got in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted)


def test_a_twin_is_taken_where_forward_calls_a_function(seeded):
    class Squeezed(nn.Module):
        def forward(self, x):
            """x times a gate."""
            return x * functional.hardsigmoid(x.mean((2, 3), keepdim=True))

    x = images(seeded)
    assert vmap(grad(slope_of(Squeezed())))(x, {}).isfinite().all()


def test_twice_differentiable_leaves_no_setting_behind():
    flags = [torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()]
    with pytest.raises(RuntimeError, match="stop"), twice_differentiable():
        raise RuntimeError("stop")
    after = [torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()]
    assert after == flags
    x = torch.zeros(1, requires_grad=True)
    assert "Hardsigmoid" in type(functional.hardsigmoid(x).grad_fn).__name__


def test_expose_dropout_sees_every_dropout_of_a_transformer():
    """The fast path of eval mode would call none of them."""
    model = encoder()
    found = models.dropouts(models.expose_dropout(model, (1, 6, 6)))
    assert len(found) == 6
