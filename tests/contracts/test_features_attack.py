"""Matching features finds images that matching gradients does not, also those of a batch."""

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from dlgutils import Batch, attacks, invert, metrics, models, share
from dlgutils.analytic import features
from dlgutils.analytic.masks import Reading

CLASSES = 4


@pytest.fixture(scope="module")
def wide():
    """A CNN of sigmoids for 8×8 images whose weights are three times as large as fresh ones."""
    model = models.cnn((1, 8, 8), CLASSES, hidden=32, activation=nn.Sigmoid).double()
    model = models.init_default(model, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 3
    return model


@pytest.fixture(scope="module")
def secret():
    """Three images of noise, of three classes."""
    draw = torch.Generator().manual_seed(1)
    x = torch.rand(3, 1, 8, 8, generator=draw, dtype=torch.float64)
    return Batch(x, torch.tensor([0, 1, 3]))


def reading_of(model, secret):
    """The reading of the classifier, from the secret."""
    calls, z = models.observe(model, secret.x)
    delta = (z.softmax(1) - one_hot(secret.y, CLASSES)) / len(secret.y)
    return Reading(secret.y, delta, calls[-1].input, {})


def test_features_find_an_image_that_gradients_do_not_show(wide, secret):
    one = Batch(secret.x[:1], secret.y[:1])
    shared = share(wide, one)
    by_features = invert(wide, shared, attacks.features, steps=200)
    by_gradient = invert(wide, shared, attacks.idlg, steps=200)
    assert by_features.y.equal(one.y[None])
    assert metrics.mse(by_features.x, one.x) < 1e-12
    assert metrics.mse(by_gradient.x, one.x) > 1e-4


def test_features_of_a_batch_are_runs_of_one_image_each(wide, secret):
    model = models.init_default(wide, torch.Generator().manual_seed(2))
    rounds = features.split(model, share(model, secret), reading_of(model, secret))
    found = invert(model, rounds, attacks.features, steps=200)
    assert found.y[:, 0].equal(secret.y)
    assert (metrics.mse(found.x[:, 0], secret.x) < 1e-8).all()


def test_features_of_a_batch_must_be_split_first(wide, secret):
    message = r"needs one image, got a batch of 3; take it apart: .*features\.split"
    with pytest.raises(ValueError, match=message):
        invert(wide, share(wide, secret), attacks.features)


def test_features_need_the_head_alone(wide, secret):
    """Whatever the client keeps back below the lowest linear layer makes no difference."""
    whole = share(wide, Batch(secret.x[:1], secret.y[:1]))
    names = [name for name in whole.gradient if not name.startswith("body")]
    head = {name: whole.gradient[name] for name in names}
    part = invert(wide, type(whole)(whole.weights, head, whole.x_shape), attacks.features, steps=5)
    assert part.loss.equal(invert(wide, whole, attacks.features, steps=5).loss)
