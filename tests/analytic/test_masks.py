"""A mask that is read is the mask that was drawn; a gradient without a readable mask is refused."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from dlgutils import Batch, attacks, data, invert, metrics, models, share
from dlgutils.analytic import closed_form, mask_evidence, masks, separation
from dlgutils.federated import defenses, gradient, honest
from tests.helpers.rounds import with_noise

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


def round_of(model, seed, *, init=models.init_default, batch=1, dtype=torch.float64):
    """One honest round of a fresh network on random images."""
    gen = torch.Generator().manual_seed(seed)
    model = init(model, gen).to(dtype)
    x = torch.rand(batch, *SHAPE, generator=gen).to(dtype)
    secret = Batch(x, torch.randint(4, (batch,), generator=gen))
    return honest(model, secret, gen, init=None)


def entering(model, secret, drawn):
    """The features that entered the classifier of the client."""
    seen = []
    hook = model.fc.register_forward_pre_hook(lambda _, u: seen.append(u[0].detach()))
    functional_call(model, drawn, (secret.x,))
    hook.remove()
    return seen[0]


rates = st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9])
seeds = st.integers(0, 2**31)
inits = st.sampled_from([models.init_default, models.init_uniform])


@given(seed=seeds, p=rates, init=inits, dtype=st.sampled_from([torch.float32, torch.float64]))
def test_read_finds_the_mask_that_was_drawn(seed, p, init, dtype):
    model = models.lenet(SHAPE, 4, dropout=p)
    model, secret, shared, drawn = round_of(model, seed, init=init, dtype=dtype)
    reading = masks.read(model, shared)
    assert reading.masks["dropout.mask"].equal(drawn["dropout.mask"])
    assert reading.y.equal(secret.y)
    rtol = 1e3 * torch.finfo(dtype).eps
    features = entering(model, secret, drawn)
    torch.testing.assert_close(reading.features, features, rtol=rtol, atol=0)


@given(seed=seeds, p=rates, init=inits)
def test_read_takes_every_mask_of_an_mlp_from_the_layer_after_it(seed, p, init):
    model = models.mlp(SHAPE, (12, 9, 7), 4, dropout=p)
    model, _, shared, drawn = round_of(model, seed, init=init)
    found = masks.read(model, shared).masks
    assert found.keys() == drawn.keys()
    assert found["body.8.mask"].equal(drawn["body.8.mask"])
    # if no unit is left, nothing below it is in the gradient
    alive = (drawn["body.8.mask"] > 0).any()
    assert not alive or found["body.5.mask"].equal(drawn["body.5.mask"])


@given(seed=seeds, p=rates)
def test_read_takes_dead_units_of_a_relu_for_dropped_and_no_gradient_differs(seed, p):
    model = models.mlp(SHAPE, (12, 9), 4, dropout=p, activation=nn.ReLU)
    model, secret, shared, drawn = round_of(model, seed)
    found = masks.read(model, shared).masks
    assert all(((mask == 0) >= (drawn[name] == 0)).all() for name, mask in found.items())
    rebuilt = gradient(shared.weights, model, *secret, found)
    assert all(rebuilt[name].equal(g) for name, g in shared.gradient.items())


@given(seed=seeds, p=rates, bound=st.sampled_from([0.5, 2.0]))
def test_read_finds_as_much_without_a_bias(seed, p, bound):
    def init(model, gen):
        return models.init_uniform(model, gen, bound)

    model, secret, shared, drawn = round_of(NoBias(p), seed, init=init)
    if not drawn["body.3.mask"].any():
        return  # all dropped: no bias, no gradient, nothing to read
    reading = masks.read(model, shared)
    assert reading.y.equal(secret.y)
    assert reading.masks["body.3.mask"].equal(drawn["body.3.mask"])
    features = entering(model, secret, drawn)
    torch.testing.assert_close(reading.features, features, rtol=1e-6, atol=0)


def test_read_without_dropout_finds_no_mask_and_all_features():
    model, secret, shared, _ = round_of(models.lenet(SHAPE, 4), 0)
    reading = masks.read(model, shared)
    assert not reading.masks
    torch.testing.assert_close(reading.features, model.body(secret.x).flatten(1))
    delta = model(secret.x).softmax(1) - torch.eye(4).double()[secret.y]
    torch.testing.assert_close(reading.delta, delta)


@pytest.mark.parametrize("seed", range(5))
def test_read_finds_the_mask_under_noise_that_is_announced(seed):
    model = models.lenet(SHAPE, 4, dropout=0.5)
    model, secret, shared, drawn = round_of(model, seed)
    reading = masks.read(model, with_noise(shared, 1e-3), noise=1e-3)
    assert reading.masks["dropout.mask"].equal(drawn["dropout.mask"])
    assert reading.y.equal(secret.y)
    assert abs(float(reading.delta.sum())) < 1e-15


def noisy_photograph(sigma, seed, init=models.init_default):
    """A round of a photograph under noise that its protocol tells of."""
    gen = torch.Generator().manual_seed(seed)
    photo = data.photos("cat")
    row = [defenses.noise(sigma)]
    return honest(models.lenet(dropout=0.5), photo, gen, init=init, defenses=row)


@pytest.mark.parametrize("seed", range(3))
def test_read_finds_the_mask_of_a_photograph_under_its_noise_without_a_word(seed):
    model, secret, shared, drawn = noisy_photograph(0.03, seed)
    reading = masks.read(model, shared)
    assert reading.masks["dropout.mask"].equal(drawn["dropout.mask"])
    assert reading.y.equal(secret.y)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sigma", [0.2, 0.5, 3.0])
def test_read_refuses_noise_that_covers_mask_or_label(seed, sigma):
    model, _, shared, _ = noisy_photograph(sigma, seed)
    with pytest.raises(ValueError, match=rf"the noise, σ = {sigma:g}, covers|cannot be"):
        masks.read(model, shared)


@pytest.mark.parametrize("seed", range(3))
def test_read_refuses_noise_that_covers_what_entered_a_layer(seed):
    """Its label is plain, since the noise of the bias is taken out here."""
    shared = noisy_photograph(0.25, seed).shared
    clean = noisy_photograph(0.0, seed).shared.gradient["fc.bias"]
    shared = replace(shared, gradient={**shared.gradient, "fc.bias": 3 * clean})
    with pytest.raises(ValueError, match=r"covers the mask in fc\.weight: \d+% .*attacks\.dia"):
        mask_evidence.check_shown(shared, ["fc.weight"], 0.25)


@pytest.mark.parametrize("seed", range(3))
def test_read_warns_where_small_units_are_lost(seed):
    model, secret, shared, drawn = noisy_photograph(0.03, seed, models.init_uniform)
    with pytest.warns(UserWarning, match=r"some units before fc\.weight .* taken as dropped"):
        reading = masks.read(model, shared)
    taken, kept = (masks["dropout.mask"] > 0 for masks in (reading.masks, drawn))
    assert not (taken & ~kept).any()
    assert 5 < (kept & ~taken).sum() < 120
    assert reading.y.equal(secret.y)


def test_read_refuses_a_layer_of_noise_alone():
    shared = noisy_photograph(0.0, 0).shared
    gen = torch.Generator().manual_seed(0)
    alone = {**shared.gradient, "fc.weight": 0.01 * torch.randn(12, 768, generator=gen)}
    with pytest.raises(ValueError, match="100% of what entered the layer is below it"):
        mask_evidence.check_shown(replace(shared, gradient=alone), ["fc.weight"], 0.01)


@pytest.mark.parametrize("noise", [-1.0, float("inf"), float("nan")])
def test_read_refuses_a_noise_that_is_not_a_standard_deviation(noise):
    model, _, shared, _ = round_of(models.lenet(SHAPE, 4, dropout=0.5), 0)
    with pytest.raises(ValueError, match=rf"noise is a standard deviation, got {noise}"):
        masks.read(model, shared, noise=noise)


def test_read_sends_a_batch_to_separate():
    model, _, shared, _ = round_of(models.lenet(SHAPE, 4, dropout=0.5), 0, batch=2)
    with pytest.raises(
        ValueError, match=r"mask of one image, got a batch of 2.*separation\.separate"
    ):
        masks.read(model, shared)


def test_read_refuses_dropout_inside_the_body():
    model, _, shared, _ = round_of(DropoutInside(), 0)
    with pytest.raises(
        ValueError, match=r"no linear layer gets the output of dropout\.mask.*attacks\.dia"
    ):
        masks.read(model, shared)


def test_read_refuses_noise_that_was_not_announced():
    model, _, shared, _ = round_of(models.lenet(SHAPE, 4, dropout=0.5), 0)
    with pytest.raises(ValueError, match=r"fc\.weight is not a product.*noise"):
        masks.read(model, with_noise(shared, 1e-3, only="weight"))


def test_read_refuses_a_gradient_of_another_model():
    shared = round_of(models.mlp(SHAPE, (12,), 4, dropout=0.5), 0).shared
    with pytest.raises(ValueError, match=r"the (gradient|weights) of another model"):
        masks.read(models.lenet(SHAPE, 4, dropout=0.5), shared)


def test_read_refuses_a_classifier_that_is_not_linear():
    model = nn.Sequential(nn.Conv2d(1, 3, 8, bias=False), nn.Flatten())
    gen = torch.Generator().manual_seed(0)
    shared = share(model, Batch(torch.rand(1, *SHAPE, generator=gen), torch.tensor([1])))
    with pytest.raises(ValueError, match="the last layer is not linear"):
        masks.read(model, shared)


def test_read_leaves_the_model_as_it_was():
    model, _, shared, _ = round_of(models.lenet(SHAPE, 4, dropout=0.5), 0)
    masks.read(model, shared)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_linear_after_names_the_weight_after_each_active_dropout():
    x_shape = (1, *SHAPE)
    mlp = models.mlp(SHAPE, (12, 9), 4, dropout=0.5)
    assert masks.linear_after(mlp, x_shape) == {
        "body.2.mask": "body.3.weight",
        "body.5.mask": "fc.weight",
    }
    assert masks.linear_after(models.lenet(SHAPE, 4, dropout=0.5), x_shape) == {
        "dropout.mask": "fc.weight"
    }
    assert masks.linear_after(models.lenet(SHAPE, 4), x_shape) == {}
    assert masks.linear_after(DropoutInside(), x_shape) == {}


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_reading_the_mask_recovers_the_image(p):
    """Random pixels, 64 of them, on a network with 48 features: the hardest image.

    There are more equations than unknowns.
    """
    model, secret, shared, _ = round_of(models.lenet(SHAPE, 4, dropout=p), 3)
    attack = replace(attacks.mask_reading, transform=None)
    result = invert(model, shared, attack, steps=400)
    assert metrics.mse(result.x[0], secret.x).max() < 1e-3


@pytest.mark.slow
def test_dia_finds_image_and_mask_where_the_mask_cannot_be_read():
    """Slow: 3 000 evaluations, since an image and its mask take that many to be found together."""
    model, secret, shared, _ = round_of(DropoutInside(0.2), 1)
    gen = torch.Generator().manual_seed(0)
    naive = invert(model, shared, attacks.inverting, gen, steps=1500)
    dia = invert(model, shared, attacks.dia, gen, steps=1500)
    assert dia.best_loss.item() < naive.best_loss.item() / 10
    assert metrics.mse(dia.x[0], secret.x).item() < metrics.mse(naive.x[0], secret.x).item()
    assert ((dia.x >= 0) & (dia.x <= 1)).all()


def channels_dropped():
    """A convolutional network with channel dropout before its classifier, exposed."""
    layers = (
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.Sigmoid(),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.Sigmoid(),
        nn.Dropout2d(0.5),
        nn.Flatten(),
        nn.Linear(192, 6),
    )
    return models.expose_dropout(nn.Sequential(*layers).double(), SHAPE)


def test_channel_masks_are_read_from_one_image_and_from_a_batch(seeded):
    model = models.init_default(channels_dropped(), seeded(0))
    x = torch.rand(3, *SHAPE, generator=seeded(1), dtype=torch.float64)
    drawn = models.draw_masks(model, 3, seeded(2))
    y = torch.tensor([0, 2, 4])
    one = Batch(x[:1], y[:1])
    shared = share(model, one, masks={"4.mask": drawn["4.mask"][:1]})
    assert masks.read(model, shared).masks["4.mask"].equal(drawn["4.mask"][:1])
    assert closed_form.recover(model, shared).x.allclose(x[:1], atol=1e-6)
    batch = share(model, Batch(x, y), masks=drawn)
    found = separation.separate(model, batch).reading
    assert found.masks["4.mask"][found.y.argsort()].equal(drawn["4.mask"])
