"""A mask that is read is the mask that was drawn; a gradient that has no mask to read is refused."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from dlgutils import Batch, attacks, invert, metrics, models, share
from dlgutils.analytic import masks
from dlgutils.federated import client

SHAPE = (1, 8, 8)


class NoBias(nn.Module):
    """An MLP with dropout whose classifier has no bias."""

    def __init__(self, dropout):
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 20), nn.Sigmoid(), models.Dropout(dropout, (20,))
        )
        self.fc = nn.Linear(20, 5, bias=False)

    def forward(self, x):
        """Logits."""
        return self.fc(self.body(x))


class DropoutInside(nn.Module):
    """Dropout between two convolutions, where no linear layer gets its output."""

    def __init__(self, dropout=0.3):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.dropout = models.Dropout(dropout, (4, 8, 8))
        self.second = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.fc = nn.Linear(64, 4)

    def forward(self, x):
        """Logits."""
        return self.fc(self.second(self.dropout(self.first(x).sigmoid())).sigmoid().flatten(1))


def a_round(model, seed, *, init=models.init_default, batch=1, dtype=torch.float64):
    """One honest round of a fresh network on random images: model, batch, shared with the masks revealed."""
    gen = torch.Generator().manual_seed(seed)
    model = init(model, gen).to(dtype)
    secret = Batch(
        torch.rand(batch, *SHAPE, generator=gen).to(dtype),
        torch.randint(4, (batch,), generator=gen),
    )
    return model, secret, share(model, secret, gen, reveal_masks=True)


def entering(model, secret, shared):
    """The features that entered the classifier of the client."""
    seen = []
    hook = model.fc.register_forward_pre_hook(lambda _, u: seen.append(u[0].detach()))
    functional_call(model, shared.masks, (secret.x,))
    hook.remove()
    return seen[0]


rates = st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9])
seeds = st.integers(0, 2**31)
inits = st.sampled_from([models.init_default, models.init_uniform])


@given(seed=seeds, p=rates, init=inits, dtype=st.sampled_from([torch.float32, torch.float64]))
def test_the_mask_that_is_read_is_the_mask_that_was_drawn(seed, p, init, dtype):
    model, secret, shared = a_round(models.lenet(SHAPE, 4, dropout=p), seed, init=init, dtype=dtype)
    reading = masks.read(model, replace(shared, masks=None))
    assert reading.masks["dropout.mask"].equal(shared.masks["dropout.mask"])
    assert reading.y.equal(secret.y)
    torch.testing.assert_close(
        reading.features, entering(model, secret, shared), rtol=1e3 * torch.finfo(dtype).eps, atol=0
    )


@given(seed=seeds, p=rates, init=inits)
def test_every_layer_of_an_mlp_is_read_from_the_layer_after_it(seed, p, init):
    model, _, shared = a_round(models.mlp(SHAPE, (12, 9, 7), 4, dropout=p), seed, init=init)
    found = masks.read(model, replace(shared, masks=None)).masks
    assert found.keys() == shared.masks.keys()
    alive = (
        shared.masks["body.8.mask"] > 0
    ).any()  # if no unit is left, nothing below it is in the gradient
    assert found["body.8.mask"].equal(shared.masks["body.8.mask"])
    assert not alive or found["body.5.mask"].equal(shared.masks["body.5.mask"])


@given(seed=seeds, p=rates)
def test_dead_units_of_a_relu_look_dropped_and_no_gradient_differs(seed, p):
    model, secret, shared = a_round(
        models.mlp(SHAPE, (12, 9), 4, dropout=p, activation=nn.ReLU), seed
    )
    found = masks.read(model, replace(shared, masks=None)).masks
    assert all(((mask == 0) >= (shared.masks[name] == 0)).all() for name, mask in found.items())
    rebuilt = client.gradient(shared.weights, model, *secret, found)
    assert all(rebuilt[name].equal(g) for name, g in shared.gradient.items())


@given(seed=seeds, p=rates, bound=st.sampled_from([0.5, 2.0]))
def test_a_classifier_without_bias_tells_as_much(seed, p, bound):
    model, secret, shared = a_round(
        NoBias(p), seed, init=lambda m, g: models.init_uniform(m, g, bound)
    )
    if not shared.masks["body.3.mask"].any():
        return  # all dropped: no bias, no gradient, nothing to read
    reading = masks.read(model, replace(shared, masks=None))
    assert reading.y.equal(secret.y)
    assert reading.masks["body.3.mask"].equal(shared.masks["body.3.mask"])
    torch.testing.assert_close(reading.features, entering(model, secret, shared), rtol=1e-6, atol=0)


def test_without_dropout_there_is_no_mask_and_all_features():
    model, secret, shared = a_round(models.lenet(SHAPE, 4), 0)
    reading = masks.read(model, shared)
    assert not reading.masks
    torch.testing.assert_close(reading.features, model.body(secret.x).flatten(1))
    torch.testing.assert_close(
        reading.delta, model(secret.x).softmax(1) - torch.eye(4).double()[secret.y]
    )


def test_a_batch_is_sent_to_separate():
    model, _, shared = a_round(models.lenet(SHAPE, 4, dropout=0.5), 0, batch=2)
    with pytest.raises(ValueError, match=r"mask of one image, got a batch of 2.*masks\.separate"):
        masks.read(model, shared)


def test_dropout_inside_the_body_cannot_be_read():
    model, _, shared = a_round(DropoutInside(), 0)
    with pytest.raises(
        ValueError, match=r"no linear layer gets the output of dropout\.mask.*attacks\.dia"
    ):
        masks.read(model, shared)


def test_noise_is_no_mask_of_ones():
    model, _, shared = a_round(models.lenet(SHAPE, 4, dropout=0.5), 0)
    gen = torch.Generator().manual_seed(1)
    noisy = {
        name: g + 1e-3 * torch.randn(g.shape, generator=gen).double() if "weight" in name else g
        for name, g in shared.gradient.items()
    }
    with pytest.raises(ValueError, match=r"fc\.weight is no product.*noise"):
        masks.read(model, replace(shared, gradient=noisy))


def test_a_gradient_of_another_model_is_refused():
    shared = a_round(models.mlp(SHAPE, (12,), 4, dropout=0.5), 0)[2]
    with pytest.raises(ValueError, match=r"the (gradient|weights) of another model"):
        masks.read(models.lenet(SHAPE, 4, dropout=0.5), shared)


def test_a_classifier_that_is_not_linear_is_refused():
    model = nn.Sequential(nn.Conv2d(1, 3, 8, bias=False), nn.Flatten())
    gen = torch.Generator().manual_seed(0)
    shared = share(model, Batch(torch.rand(1, *SHAPE, generator=gen), torch.tensor([1])))
    with pytest.raises(ValueError, match="no linear"):
        masks.read(model, shared)


def test_the_model_is_left_as_it_was():
    model, _, shared = a_round(models.lenet(SHAPE, 4, dropout=0.5), 0)
    masks.read(model, shared)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_who_reads_the_mask_recovers_the_image(p):
    """Random pixels, 64 of them, on a network with 48 features: the hardest image, and more equations than unknowns."""
    model, secret, shared = a_round(models.lenet(SHAPE, 4, dropout=p), 3)
    attack = replace(attacks.mask_reading, coordinates=None)
    result = invert(model, replace(shared, masks=None), attack, steps=400)
    assert metrics.mse(result.x[0], secret.x).max() < 1e-3


def test_dia_finds_image_and_mask_where_the_mask_cannot_be_read():
    model, secret, shared = a_round(DropoutInside(0.2), 1)
    gen = torch.Generator().manual_seed(0)
    naive, dia = (
        invert(model, replace(shared, masks=None), a, gen, steps=1500)
        for a in (attacks.inverting, attacks.dia)
    )
    assert dia.lowest.item() < naive.lowest.item() / 10
    assert metrics.mse(dia.x[0], secret.x).item() < metrics.mse(naive.x[0], secret.x).item()
    assert ((dia.x >= 0) & (dia.x <= 1)).all()
