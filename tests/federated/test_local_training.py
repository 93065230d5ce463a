"""The update of a client that trains: PyTorch's own SGD is the known answer."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from dlgutils import Batch, Protocol, models, share
from dlgutils.federated import from_weights

IMAGES = 5
X = torch.rand(IMAGES, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 2, 1, 1, 0])
SETTINGS = [
    Protocol(),
    Protocol(steps=5),
    Protocol(steps=7, batch_size=2, lr=0.3),
    Protocol(steps=3, momentum=0.9, weight_decay=0.01),
    Protocol(steps=4, batch_size=4, momentum=0.5, loss=partial(cross_entropy, reduction="sum")),
]


def network():
    torch.manual_seed(0)
    return models.mlp((1, 4, 4), (6,), 3).double()


def trained_by_torch(model, batch, protocol):
    """A copy of the model after the client's steps, by torch.optim."""
    model = copy.deepcopy(model)
    settings = {"momentum": protocol.momentum, "weight_decay": protocol.weight_decay}
    optimizer = torch.optim.SGD(model.parameters(), protocol.lr, **settings)
    size = protocol.batch_size or len(batch.x)
    places = [range(k, min(k + size, len(batch.x))) for k in range(0, len(batch.x), size)]
    for step in range(protocol.steps):
        here = list(places[step % len(places)])
        optimizer.zero_grad()
        protocol.loss(model(batch.x[here]), batch.y[here]).backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("protocol", SETTINGS)
def test_share_sends_what_torch_optim_does(protocol):
    model = network()
    after = models.weights(trained_by_torch(model, Batch(X, Y), protocol))
    before = models.weights(model)
    shared = share(model, Batch(X, Y), protocol=protocol)
    for name, g in shared.gradient.items():
        moved = (before[name] - after[name]) / (protocol.lr * protocol.steps)
        torch.testing.assert_close(g, moved)
    read = from_weights(before, after, tuple(X.shape), protocol)
    assert read.gradient.keys() == shared.gradient.keys()
    for name, g in read.gradient.items():
        torch.testing.assert_close(g, shared.gradient[name])


def test_share_scales_what_it_sends():
    model = network()
    plain = share(model, Batch(X, Y))
    halved = share(model, Batch(X, Y), protocol=Protocol(scale=0.5))
    for name, g in halved.gradient.items():
        assert g.equal(0.5 * plain.gradient[name])


def test_share_sends_what_is_trained_and_named():
    model = network()
    model.body.requires_grad_(False)
    assert set(share(model, Batch(X, Y)).gradient) == {"fc.weight", "fc.bias"}
    protocol = Protocol(sent=("fc.bias",))
    assert set(share(model, Batch(X, Y), protocol=protocol).gradient) == {"fc.bias"}
    with pytest.raises(ValueError, match=r"body.0.weight cannot be sent: this model trains fc"):
        share(model, Batch(X, Y), protocol=Protocol(sent=("body.0.weight",)))
    model.requires_grad_(False)
    with pytest.raises(ValueError, match=r"no parameter of this model is trained"):
        share(model, Batch(X, Y))


def test_share_shuffles_from_the_second_pass_on(seeded):
    protocol = Protocol(steps=6, batch_size=2, shuffle=True)
    model = network()
    in_order = share(model, Batch(X, Y), protocol=Protocol(steps=6, batch_size=2))
    shuffled = share(model, Batch(X, Y), seeded(0), protocol=protocol)
    again = share(model, Batch(X, Y), seeded(0), protocol=protocol)
    assert shuffled.gradient["fc.bias"].equal(again.gradient["fc.bias"])
    assert not shuffled.gradient["fc.bias"].equal(in_order.gradient["fc.bias"])
    one_pass = Protocol(steps=3, batch_size=2, shuffle=True)
    first = share(model, Batch(X, Y), seeded(0), protocol=one_pass)
    plain = share(model, Batch(X, Y), protocol=Protocol(steps=3, batch_size=2))
    assert first.gradient["fc.bias"].equal(plain.gradient["fc.bias"])
    with pytest.raises(ValueError, match=r"shuffles .* generator"):
        share(model, Batch(X, Y), protocol=protocol)


def test_share_draws_a_mask_for_every_visit(seeded):
    """Two passes with the same masks in both are two steps with these masks."""
    torch.manual_seed(0)
    model = models.mlp((1, 4, 4), (6,), 3, dropout=0.5).double()
    protocol = Protocol(steps=2)
    masks = models.draw_masks(model, 2 * IMAGES, seeded(1))
    assert protocol.visits(IMAGES) == 2 * IMAGES
    told = share(model, Batch(X, Y), masks=masks, protocol=protocol)
    drawn = share(model, Batch(X, Y), seeded(1), protocol=protocol)
    assert told.gradient["fc.weight"].equal(drawn.gradient["fc.weight"])
    few = {name: mask[:IMAGES] for name, mask in masks.items()}
    with pytest.raises(ValueError, match=r"one mask per image"):
        share(model, Batch(X, Y), masks=few, protocol=protocol)


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        (binary_cross_entropy_with_logits, torch.eye(3, dtype=torch.float64)[Y]),
        (mse_loss, torch.randn(IMAGES, 3, dtype=torch.float64)),
        (nn.CrossEntropyLoss(label_smoothing=0.1), Y),
        (cross_entropy, torch.full((IMAGES, 3), 1 / 3, dtype=torch.float64)),
    ],
)
def test_share_takes_the_targets_of_its_loss(loss, y):
    model = network()
    shared = share(model, Batch(X, y), protocol=Protocol(loss=loss))
    loss(model(X), y).backward()
    torch.testing.assert_close(shared.gradient["fc.weight"], model.fc.weight.grad)


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        (mse_loss, torch.zeros(4, 3, dtype=torch.float64), r"shape \(5,\)"),
        (binary_cross_entropy_with_logits, Y, r"the loss does not take targets"),
        (partial(mse_loss, reduction="none"), torch.zeros(5, 3).double(), r"a loss is one number"),
        (cross_entropy, torch.ones(5, 3).double(), r"probabilities .* sum to one"),
        (nn.CrossEntropyLoss(), torch.full((5,), -100), r"labels lie in 0 … 2"),
    ],
)
def test_share_refuses_targets_that_the_loss_does_not_take(loss, y, message):
    with pytest.raises(ValueError, match=message):
        share(network(), Batch(X, y), protocol=Protocol(loss=loss))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, r"steps is a whole number from 1 on, got 0"),
        ({"steps": 2.0}, r"steps is a whole number from 1 on, got 2.0"),
        ({"steps": True}, r"steps is a whole number"),
        ({"batch_size": 1.5}, r"batch_size is a whole number"),
        ({"lr": "0.1"}, r"lr is a positive number, got '0.1'"),
        ({"sent": ()}, r"sent has the names .* got \(\)"),
        ({"sent": "fc.bias"}, r"sent has the names .* pass a tuple"),
        ({"lr": 0.0}, r"lr is a positive number, got 0.0"),
        ({"momentum": -0.1}, r"momentum"),
        ({"scale": 0.0}, r"scale is a finite number other than zero, got 0.0; None says"),
    ],
)
def test_protocol_refuses_impossible_numbers(settings, message):
    with pytest.raises(ValueError, match=message):
        Protocol(**settings)


def test_from_weights_says_what_is_wrong():
    weights = models.weights(network())
    with pytest.raises(ValueError, match=r"are the same"):
        from_weights(weights, weights, tuple(X.shape), Protocol())
    with pytest.raises(ValueError, match=r"sent other, which the server does not have"):
        from_weights(weights, {"other": X}, tuple(X.shape), Protocol())
