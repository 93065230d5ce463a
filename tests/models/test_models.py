"""Networks, their weights from a generator, and dropout whose mask is a value."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from dlgutils import models

SHAPE = (1, 6, 6)


class Nested(nn.Module):
    """Two nn.Dropouts, one of them inside a child."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.Sigmoid(), nn.Dropout(0.3))
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        """Logits."""
        return self.head(self.drop(self.block(x)))


def plain(*layers):
    """36 inputs, five features, these layers, four classes."""
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 5), *layers, nn.Linear(5, 4))


@pytest.fixture
def x(seeded):
    return torch.rand(3, *SHAPE, generator=seeded(0))


@pytest.mark.parametrize(
    ("shape", "features"),
    [
        ((1, 28, 28), 588),
        ((3, 32, 32), 768),
        ((3, 64, 64), 3072),
        ((1, 8, 8), 48),
        ((3, 33, 47), 1296),
    ],
)
def test_lenet_takes_images_of_any_size(shape, features):
    net = models.lenet(shape, 7)
    assert net.fc.in_features == features
    assert net(torch.zeros(2, *shape)).shape == (2, 7)


def test_mlp_has_the_hidden_layers_asked_for(x):
    net = models.mlp(SHAPE, hidden=(9, 8), classes=4, dropout=0.5)
    assert [tuple(w.shape) for name, w in net.named_parameters() if name.endswith("weight")] == [
        (9, 36),
        (8, 9),
        (4, 8),
    ]
    assert [tuple(layer.mask.shape) for layer in models.dropouts(net).values()] == [(9,), (8,)]
    assert net(x).shape == (3, 4)


@pytest.mark.parametrize("maker", [models.lenet, models.mlp])
@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.ReLU, nn.Tanh])
def test_the_activation_is_the_one_asked_for(maker, activation):
    assert any(
        isinstance(layer, activation) for layer in maker(SHAPE, activation=activation).modules()
    )


@pytest.mark.parametrize("maker", ["lenet", "mlp"])
@pytest.mark.parametrize("shape", [(3, 6, 6), (1, 7, 6), (1, 28, 28)])
def test_images_of_another_shape_are_refused(maker, shape):
    net = getattr(models, maker)(SHAPE)
    way_out = rf"models\.{maker}\(x_shape=\({shape[0]}, {shape[1]}, {shape[2]}\)\)"
    with pytest.raises(
        ValueError, match=rf"got images of shape \({shape[0]}, .*built for \(1, 6, 6\).*{way_out}"
    ):
        net(torch.zeros(1, *shape))


# Weights


@pytest.mark.parametrize("init", [models.init_default, models.init_uniform])
def test_the_generator_decides_the_weights(init, seeded):
    one, same, other = (
        models.weights(init(models.lenet(SHAPE), seeded(seed))) for seed in (0, 0, 1)
    )
    assert all(one[name].equal(same[name]) for name in one)
    assert not any(one[name].equal(other[name]) for name in one)


@pytest.mark.parametrize("init", [models.init_default, models.init_uniform])
def test_an_initialiser_leaves_the_model_and_the_world_as_they_were(init, seeded):
    net = models.lenet(SHAPE).double()
    before, state = models.weights(net), torch.get_rng_state()
    fresh = init(net, seeded(0))
    assert torch.get_rng_state().equal(state)
    assert all(p.equal(before[name]) for name, p in net.named_parameters())
    assert next(fresh.parameters()).dtype == torch.float64


def test_two_initialisations_from_one_generator_differ(seeded):
    gen = seeded(0)
    first, second = (
        models.weights(models.init_default(models.lenet(SHAPE), gen)) for _ in range(2)
    )
    assert not first["fc.weight"].equal(second["fc.weight"])


@given(seed=st.integers(0, 2**31))
def test_default_weights_are_uniform_within_one_over_the_root_of_the_fan_in(seeded, seed):
    net = models.init_default(models.lenet((3, 16, 16)), seeded(seed))
    for layer in (layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)):
        bound = 1 / math.sqrt(layer.weight[0].numel())
        assert layer.weight.abs().max() <= bound
        assert layer.bias.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


@given(seed=st.integers(0, 2**31), bound=st.floats(0.1, 2))
def test_wide_weights_and_biases_are_uniform_within_the_bound(seeded, seed, bound):
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


# Masks


@pytest.mark.parametrize("p", [1.0, -0.1, 1.5, math.nan])
def test_a_dropout_rate_outside_its_range_is_refused(p):
    with pytest.raises(ValueError, match=rf"rate in \[0, 1\), got {p}; 0 keeps every unit"):
        models.lenet(SHAPE, dropout=p)


@pytest.mark.parametrize("train", [True, False])
def test_dropout_does_nothing_until_a_mask_is_passed(x, train):
    net = models.mlp(SHAPE, (5,), dropout=0.5).train(train)
    without = models.mlp(SHAPE, (5,))
    without.load_state_dict(net.state_dict())
    assert net(x).equal(without(x))


def test_masks_have_a_row_per_image_and_entries_of_two_kinds(seeded):
    net = models.lenet(SHAPE, dropout=0.75)
    (mask,) = models.draw_masks(net, 500, seeded(0)).values()
    assert mask.shape == (500, *net.dropout.mask.shape)
    assert mask.unique().tolist() == [0, 4]
    assert mask.mean().item() == pytest.approx(1, abs=0.05)
    assert not mask[0].equal(mask[1])


def test_masks_follow_the_generator_and_the_dtype(seeded):
    net = models.mlp(SHAPE, (5, 5), dropout=0.5).double()
    masks, same = (models.draw_masks(net, 2, seeded(3)) for _ in range(2))
    assert list(masks) == ["body.2.mask", "body.5.mask"]
    assert all(
        masks[name].equal(same[name]) and masks[name].dtype == torch.float64 for name in masks
    )


def test_a_mask_needs_a_generator_only_if_something_is_dropped():
    assert models.draw_masks(models.lenet(SHAPE), 1, None) == {}
    with pytest.raises(
        ValueError, match=r"dropout\.mask: .*none came; pass torch\.Generator\(\)\.manual_seed"
    ):
        models.draw_masks(models.lenet(SHAPE, dropout=0.5), 1, None)


# Models brought by the user


def test_an_exposed_model_in_eval_mode_says_what_the_original_said(x):
    net = Nested().eval()
    assert models.expose_dropout(net, SHAPE)(x).equal(net(x))


def test_every_dropout_gets_a_named_mask_of_its_rate():
    layers = models.dropouts(models.expose_dropout(Nested(), SHAPE))
    assert {name: (layer.p, tuple(layer.mask.shape)) for name, layer in layers.items()} == {
        "block.3.mask": (0.3, (5,)),
        "drop.mask": (0.5, (5,)),
    }


def test_a_dropout_of_two_names_is_replaced_under_both(x, seeded):
    net = Nested()
    net.alias = net.drop
    exposed = models.expose_dropout(net, SHAPE)
    assert exposed.alias is exposed.drop
    assert list(models.dropouts(exposed)) == ["block.3.mask", "drop.mask"]
    masks = models.draw_masks(exposed, 3, seeded(0))
    assert not functional_call(exposed, dict(masks), (x,)).allclose(exposed(x))


def test_a_mask_multiplies_the_features(x, seeded):
    net = plain(nn.Sigmoid(), nn.Dropout(0.5)).double()
    exposed = models.expose_dropout(net, SHAPE)
    masks = models.draw_masks(exposed, 3, seeded(0))
    by_hand = net[4](net[2](net[1](net[0](x.double()))) * masks["3.mask"])
    assert functional_call(exposed, {**models.weights(net), **masks}, (x.double(),)).allclose(
        by_hand
    )


def test_exposing_leaves_the_original_as_it_was():
    net = Nested().train()
    exposed = models.expose_dropout(net, SHAPE)
    assert isinstance(net.drop, nn.Dropout)
    assert net.training
    assert all(
        p.equal(q) and p is not q
        for p, q in zip(net.parameters(), exposed.parameters(), strict=True)
    )
    assert not any(module._forward_pre_hooks for module in exposed.modules())


def test_exposing_keeps_the_mode_of_every_layer():
    net = plain(nn.BatchNorm1d(5), nn.Dropout(0.5)).train()
    net[2].eval()  # frozen statistics in a model that trains
    exposed = models.expose_dropout(net, SHAPE)
    assert (exposed.training, exposed[2].training) == (True, False)


def test_exposing_does_not_update_the_statistics_of_batchnorm():
    net = plain(nn.BatchNorm1d(5), nn.Dropout(0.5)).train()
    assert models.expose_dropout(net, SHAPE)[2].running_mean.equal(net[2].running_mean)


def test_exposing_keeps_the_dtype():
    (layer,) = models.dropouts(
        models.expose_dropout(plain(nn.Dropout(0.5)).double(), SHAPE)
    ).values()
    assert layer.mask.dtype == torch.float64


SHARED_LAYER = nn.Dropout(0.5)


@pytest.mark.parametrize(
    ("net", "came"),
    [
        (plain(SHARED_LAYER, nn.ReLU(), SHARED_LAYER), "2 is a Dropout called 2 times"),
        (nn.Sequential(nn.Dropout2d(0.5), plain()), "0 is a Dropout2d called 1 times"),
        (plain(nn.AlphaDropout(0.5)), "2 is a AlphaDropout called 1 times"),
    ],
    ids=["twice", "channels", "alpha"],
)
def test_a_dropout_that_no_mask_describes_is_refused(net, came):
    with pytest.raises(
        ValueError,
        match=rf"{came} in a forward pass; only nn\.Dropout .*use one nn\.Dropout per place",
    ):
        models.expose_dropout(net, SHAPE)


def test_a_dropout_that_is_never_reached_is_refused():
    net = Nested()
    net.spare = nn.Dropout(0.5)
    with pytest.raises(ValueError, match=r"spare is a Dropout called 0 times"):
        models.expose_dropout(net, SHAPE)


def test_a_dropout_that_keeps_nothing_is_named():
    with pytest.raises(ValueError, match=r"2: dropout needs a rate in \[0, 1\), got 1"):
        models.expose_dropout(plain(nn.Dropout(1.0)), SHAPE)


def test_exposing_with_a_wrong_shape_names_it():
    with pytest.raises(ValueError, match=r"\(1, 9, 9\)"):
        models.expose_dropout(Nested(), (1, 9, 9))


# Rounded corners


@given(st.integers(0, 100), st.floats(1, 1000))
def test_a_rounded_corner_is_near_relu(seed, sharpness):
    """softplus lies above ReLU, by at most log 2 widths, at the corner; the width is the rms over the sharpness."""
    x = torch.randn(50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    apart = models.SmoothReLU(sharpness)(x) - x.relu()
    assert (apart >= -1e-12).all()
    assert apart.max() <= 0.7 * x.square().mean().sqrt() / sharpness


def test_rounding_follows_the_size_of_what_comes_in():
    layer, x = (
        models.SmoothReLU(),
        torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
    )
    torch.testing.assert_close(layer(1000 * x), 1000 * layer(x))
    assert layer(torch.zeros(5)).isfinite().all()


def test_rounded_has_the_same_parameters_and_leaves_the_model_alone():
    model = models.lenet(activation=nn.ReLU)
    soft = models.smooth_relu(model, 32)
    assert [n for n, _ in soft.named_parameters()] == [n for n, _ in model.named_parameters()]
    assert (
        sum(
            isinstance(layer, models.SmoothReLU) and layer.sharpness == 32
            for layer in soft.modules()
        )
        == 3
    )
    assert sum(isinstance(layer, nn.ReLU) for layer in model.modules()) == 3


def test_a_model_without_corners_is_refused():
    with pytest.raises(
        ValueError, match=r"this LeNet has no nn\.ReLU layer to round; functional calls"
    ):
        models.smooth_relu(models.lenet())


@pytest.mark.parametrize("sharpness", [0, -1.0, float("nan")])
def test_sharpness_is_positive(sharpness):
    with pytest.raises(ValueError, match=f"sharpness must be positive, got {sharpness}"):
        models.SmoothReLU(sharpness)
