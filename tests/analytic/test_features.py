"""Inputs of all linear layers, for every image: equal to the truth within their error bars."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy, one_hot, relu

from dlgutils import Batch, Protocol, models, share
from dlgutils.analytic import features, separation
from dlgutils.analytic.masks import Reading
from dlgutils.models import observe
from tests.helpers.rounds import confident_round, with_noise

ACTIVATIONS = [
    nn.ReLU(),
    nn.LeakyReLU(0.1),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.ELU(),
    nn.Softplus(),
    nn.GELU(),
    nn.SiLU(),
]


def network(activation, *, seed=0, hidden=(12, 10), classes=6, bias=True):
    """A fully connected network for 4×4 images, in float64."""
    widths = (16, *hidden)
    layers = [nn.Flatten()]
    for n_in, n_out in zip(widths, hidden, strict=False):
        layers += [nn.Linear(n_in, n_out, bias=bias), activation]
    layers.append(nn.Linear(widths[-1], classes, bias=bias))
    return models.init_default(nn.Sequential(*layers).double(), generator(seed))


def generator(seed):
    """A new generator."""
    return torch.Generator().manual_seed(seed)


def batch_of(n, *, seed=0, classes=6):
    """Images of noise, of classes that differ."""
    draw = generator(seed)
    x = torch.rand(n, 1, 4, 4, generator=draw, dtype=torch.float64)
    return Batch(x, torch.randperm(classes, generator=draw)[:n])


def truth(model, batch, masks=()):
    """The reading of the classifier and the inputs of all linear layers, from the secret."""
    model = copy.deepcopy(model)
    for name, mask in dict(masks).items():
        model.get_submodule(name.rpartition(".")[0]).mask = mask
    calls, z = observe(model, batch.x)
    inputs = [call.input for call in calls if isinstance(call.module, nn.Linear)]
    delta = (z.softmax(1) - one_hot(batch.y, z.shape[1])) / len(batch.x)
    return Reading(batch.y, delta, inputs[-1], {}), inputs[::-1]


def assert_true(found, inputs):
    """What was read is the truth within its error bars, which are small."""
    for layer, wanted in zip(found.layers, inputs, strict=False):
        error = (layer.inputs - wanted).norm(dim=1) / wanted.norm(dim=1)
        assert (error <= layer.error).all(), layer.name
        assert layer.residual < 1e-10


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("n", [1, 4])
def test_read_finds_the_inputs_of_every_linear_layer(activation, n):
    model, batch = network(activation), batch_of(n)
    reading, inputs = truth(model, batch)
    found = features.read(model, share(model, batch), None if n == 1 else reading)
    assert [layer.name for layer in found.layers] == ["5", "3", "1"]
    assert found.reason == ""
    assert found.y.equal(batch.y)
    assert_true(found, inputs)
    assert max(float(layer.error.max()) for layer in found.layers) < 1e-6


@given(
    activation=st.sampled_from(ACTIVATIONS),
    n=st.integers(1, 4),
    hidden=st.lists(st.integers(3, 20), max_size=3).map(tuple),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_what_is_read_is_true_within_its_error_bars(activation, n, hidden, bias, seed):
    model = network(activation, seed=seed, hidden=hidden, bias=bias)
    batch = batch_of(n, seed=seed)
    reading, inputs = truth(model, batch)
    assert_true(features.read(model, share(model, batch), reading), inputs)


class WithFunctions(nn.Module):
    """As people write it: functions between the layers, and a convolution below them."""

    def __init__(self, between=relu):
        super().__init__()
        self.between = between
        self.conv = nn.Conv2d(1, 3, 3)
        self.fc1, self.fc2 = nn.Linear(12, 10), nn.Linear(10, 6)

    def forward(self, x):
        """Logits, (batch, 6), of 4×4 images."""
        features = relu(self.conv(x)).flatten(1)
        return self.fc2(self.between(self.fc1(features)))


@pytest.mark.parametrize("n", [1, 4])
def test_read_takes_functions_between_the_layers(n):
    model, batch = models.init_default(WithFunctions().double(), generator(2)), batch_of(n)
    reading, inputs = truth(model, batch)
    found = features.read(model, share(model, batch), None if n == 1 else reading)
    assert [layer.name for layer in found.layers] == ["fc2", "fc1"]
    assert found.reason == ""
    assert_true(found, inputs)


def test_read_stops_at_a_function_whose_slope_is_unknown():
    """One image needs no slope: the gradient of the bias is its δ."""
    model = models.init_default(WithFunctions(torch.sin).double(), generator(2))
    for n, layers in ((1, 2), (3, 1)):
        reading, inputs = truth(model, batch_of(n))
        found = features.read(model, share(model, batch_of(n)), reading)
        assert len(found.layers) == layers
        assert_true(found, inputs)
    assert "between fc1 and fc2 there is something else than one activation" in found.reason


@pytest.mark.parametrize("n", [1, 3])
def test_read_finds_the_masks_on_the_way(n):
    model = models.mlp((1, 4, 4), (30, 40), 6, dropout=0.3, activation=nn.ReLU).double()
    model = models.init_default(model, generator(1))
    masks = models.draw_masks(model, n, generator(2))
    shared = share(model, batch_of(n), masks=masks)
    reading, inputs = truth(model, batch_of(n), masks)
    found = features.read(model, shared, None if n == 1 else reading)
    assert [layer.name for layer in found.layers] == ["fc", "body.3", "body.0"]
    assert_true(found, inputs)
    for name, mask in masks.items():
        assert (found.masks[name] <= mask).all()


def test_read_takes_an_update_of_the_head_alone():
    model, batch = network(nn.Tanh()), batch_of(3)
    whole = share(model, batch)
    head = replace(whole, gradient={n: g for n, g in whole.gradient.items() if n[0] in "53"})
    reading, inputs = truth(model, batch)
    found = features.read(model, head, reading)
    assert [layer.name for layer in found.layers] == ["5", "3"]
    assert found.reason == "the gradient of 1.weight was not shared"
    assert_true(found, inputs)


def test_read_says_when_an_input_is_not_determined():
    """All units between two layers are off: nothing of the images reaches the gradient."""
    model, batch = network(nn.ReLU()), batch_of(3)
    with torch.no_grad():
        model[3].bias -= 10
    reading, _ = truth(model, batch)
    found = features.read(model, share(model, batch), reading)
    assert [layer.name for layer in found.layers] == ["5"]
    assert "only 0 independent rows for 3 images, so its inputs are not determined" in found.reason


def test_read_refuses_noise():
    model, batch = network(nn.Tanh()), batch_of(3)
    noisy = with_noise(share(model, batch), 1e-4)
    with pytest.raises(ValueError, match=r"reading does not give .* back: .* noise"):
        features.read(model, noisy, truth(model, batch)[0])
    below = with_noise(share(model, batch), 1e-4, only="1.")
    found = features.read(model, below, truth(model, batch)[0])
    assert [layer.name for layer in found.layers] == ["5", "3"]
    assert "units of 1 have a slope that is certain" in found.reason or "noise" in found.reason


def test_read_refuses_the_gradient_of_another_loss():
    model, batch = network(nn.Tanh()), batch_of(1)
    shared = share(model, batch)
    loss = cross_entropy(model(batch.x), batch.y, label_smoothing=0.1)
    names = list(shared.gradient)
    smoothed = dict(zip(names, torch.autograd.grad(loss, model.parameters()), strict=True))
    with pytest.raises(ValueError, match=r"δ is .* away from softmax − onehot"):
        features.read(model, replace(shared, gradient=smoothed))


def test_read_takes_a_loss_that_was_multiplied():
    model, batch = network(nn.Tanh()), batch_of(1)
    shared = share(model, batch)
    louder = replace(shared, gradient={name: 3 * g for name, g in shared.gradient.items()})
    with pytest.raises(ValueError, match=r"3 times what its own features and label imply"):
        features.read(model, louder)
    unknown = replace(louder, protocol=Protocol(scale=None))
    assert_true(features.read(model, unknown), truth(model, batch)[1])


def test_read_refuses_a_reading_of_another_round():
    model, shared = network(nn.Tanh()), share(network(nn.Tanh()), batch_of(3))
    with pytest.raises(ValueError, match=r"does not give the gradient of 5 back"):
        features.read(model, shared, truth(model, batch_of(3, seed=1))[0])


def test_read_wants_a_linear_layer_at_the_end():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Tanh()).double()
    shared = share(model, batch_of(1, classes=4))
    with pytest.raises(ValueError, match=r"last layer is not linear: .* ends with 2, a Tanh"):
        features.read(model, shared)


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self, last):
        super().__init__()
        self.one, self.two = nn.Linear(16, 16), nn.Linear(16, 16)
        self.fc = nn.Linear(16, 16)
        (self.fc if last else self.two).weight = self.one.weight

    def forward(self, x):
        """Logits, (batch, 16)."""
        x = x.flatten(1)
        return self.fc(self.two(self.one(x).tanh()).tanh())


@pytest.mark.parametrize("last", [True, False])
def test_read_refuses_layers_that_share_a_weight(last):
    model = models.init_default(Tied(last).double(), generator(3))
    shared = share(model, batch_of(1))
    if last:
        with pytest.raises(ValueError, match=r"fc is used more than once: its gradient is a sum"):
            features.read(model, shared)
    else:
        found = features.read(model, shared)
        assert [layer.name for layer in found.layers] == ["fc"]
        assert found.reason == "the weight of two is used more than once: its gradient is a sum"


def test_split_makes_the_rounds_that_the_images_would_have_sent():
    model, batch = network(nn.ReLU(), hidden=(30, 30)), batch_of(3)
    shared = share(model, batch)
    reading, _ = truth(model, batch)
    rounds = features.split(model, shared, reading)
    for k, one in enumerate(rounds):
        alone = share(model, Batch(batch.x[[k]], batch.y[[k]]))
        assert one.x_shape == (1, 1, 4, 4)
        assert one.gradient.keys() == alone.gradient.keys()
        for name, g in one.gradient.items():
            torch.testing.assert_close(g, alone.gradient[name], rtol=1e-8, atol=1e-10)
        assert features.read(model, one).y.equal(batch.y[[k]])


def test_split_takes_an_unknown_scale_out():
    model, batch = network(nn.ReLU(), hidden=(30, 30), classes=9), batch_of(3, classes=9)
    shared = share(model, batch)
    gradient = {name: 7 * g for name, g in shared.gradient.items()}
    unknown = replace(shared, gradient=gradient, protocol=Protocol(scale=None))
    rounds = features.split(model, unknown)
    assert len(rounds) == 3
    for one in rounds:
        read = features.read(model, one)  # refuses a round of another scale
        assert read.factor == pytest.approx(1)
        assert read.y in batch.y


def test_read_has_error_bars_no_wider_than_those_of_the_separation():
    model, batch = network(nn.ReLU(), hidden=(30, 30), classes=9), batch_of(3, classes=9)
    shared = share(model, batch)
    apart = separation.separate(model, shared)
    top, *below = features.read(model, shared).layers
    length = top.inputs.norm(dim=1)
    bars = apart.error * (length**2 + 1).sqrt() / length  # the separation's are of [h, 1]
    assert (top.error <= bars * 1.001).all()
    order = torch.cdist(top.inputs, truth(model, batch)[1][0]).argmin(1)
    for layer, wanted in zip((top, *below), truth(model, batch)[1], strict=True):
        off = (layer.inputs - wanted[order]).norm(dim=1) / wanted[order].norm(dim=1)
        assert (off <= layer.error).all(), layer.name


def test_read_takes_the_images_beside_one_that_left_no_trace():
    model, shared, batch, hidden = confident_round()
    found = features.read(model, shared)
    assert [layer.name for layer in found.layers] == ["fc", "body.0"]
    order = torch.cdist(found.layers[0].inputs, hidden).argmin(1)
    assert sorted(order.tolist()) == [1, 2, 3]
    assert found.y.equal(batch.y[order])
    for layer, wanted in zip(found.layers, (hidden, batch.x.flatten(1)), strict=True):
        error = (layer.inputs - wanted[order]).norm(dim=1) / wanted[order].norm(dim=1)
        assert (error <= layer.error).all(), layer.name
        assert error.max() < 1e-2


def test_split_makes_a_round_of_every_image_that_left_a_trace():
    model, shared, batch, _ = confident_round()
    rounds = features.split(model, shared)
    assert len(rounds) == 3
    for one in rounds:
        k = int((batch.y == features.read(model, one).y).nonzero()[-1, 0])
        alone = share(model, Batch(batch.x[[k]], batch.y[[k]]))
        for name, g in one.gradient.items():
            assert (g - alone.gradient[name]).norm() < 1e-2 * alone.gradient[name].norm()


def test_read_refuses_a_reading_that_lacks_an_image_with_a_trace():
    model, batch = network(nn.ReLU()), batch_of(3)
    (y, delta, inputs, _), _ = truth(model, batch)
    two = Reading(y[:2], delta[:2], inputs[:2], {})
    with pytest.raises(ValueError, match="2 of 3 images are in this reading, and 1 of the others"):
        features.read(model, share(model, batch), two)
