"""Dropout whose mask is a value: drawn, passed, and exposed in models brought by the user."""

import pytest
import torch
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


# Masks


@pytest.mark.parametrize("train", [True, False])
def test_dropout_does_nothing_until_a_mask_is_passed(x, train):
    net = models.mlp(SHAPE, (5,), dropout=0.5).train(train)
    without = models.mlp(SHAPE, (5,))
    without.load_state_dict(net.state_dict())
    assert net(x).equal(without(x))


def test_active_dropouts_are_those_that_drop_anything():
    net = nn.Sequential(models.mlp(SHAPE), models.mlp(SHAPE, dropout=0.5))
    assert list(models.dropouts(net)) == ["0.body.2.mask", "1.body.2.mask"]
    assert models.active_dropouts(net) == {"1.body.2.mask": net[1].body[2]}


def test_draw_masks_gives_a_row_per_image_and_entries_of_two_kinds(seeded):
    net = models.lenet(SHAPE, dropout=0.75)
    (mask,) = models.draw_masks(net, 500, seeded(0)).values()
    assert mask.shape == (500, *net.dropout.mask.shape)
    assert mask.unique().tolist() == [0, 4]
    assert mask.mean().item() == pytest.approx(1, abs=0.05)
    assert not mask[0].equal(mask[1])


def test_draw_masks_follows_the_generator_and_the_dtype(seeded):
    net = models.mlp(SHAPE, (5, 5), dropout=0.5).double()
    masks = models.draw_masks(net, 2, seeded(3))
    same = models.draw_masks(net, 2, seeded(3))
    assert list(masks) == ["body.2.mask", "body.5.mask"]
    for name, mask in masks.items():
        assert mask.equal(same[name])
        assert mask.dtype == torch.float64


def test_draw_masks_needs_a_generator_only_if_something_is_dropped():
    assert models.draw_masks(models.lenet(SHAPE), 1, None) == {}
    message = r"dropout\.mask: .*none came; pass torch\.Generator\(\)\.manual_seed"
    with pytest.raises(ValueError, match=message):
        models.draw_masks(models.lenet(SHAPE, dropout=0.5), 1, None)


# Models brought by the user


def test_expose_dropout_in_eval_mode_computes_what_the_original_computes(x):
    net = Nested().eval()
    assert models.expose_dropout(net, SHAPE)(x).equal(net(x))


def test_expose_dropout_names_a_mask_of_its_rate_for_every_dropout():
    layers = models.dropouts(models.expose_dropout(Nested(), SHAPE))
    found = {name: (layer.p, tuple(layer.mask.shape)) for name, layer in layers.items()}
    assert found == {"block.3.mask": (0.3, (5,)), "drop.mask": (0.5, (5,))}


def test_expose_dropout_replaces_a_dropout_of_two_names_under_both(x, seeded):
    net = Nested()
    net.alias = net.drop
    exposed = models.expose_dropout(net, SHAPE)
    assert exposed.alias is exposed.drop
    assert list(models.dropouts(exposed)) == ["block.3.mask", "drop.mask"]
    masks = models.draw_masks(exposed, 3, seeded(0))
    assert not functional_call(exposed, dict(masks), (x,)).allclose(exposed(x))


def test_expose_dropout_gives_masks_that_multiply_the_features(x, seeded):
    x = x.double()
    net = plain(nn.Sigmoid(), nn.Dropout(0.5)).double()
    exposed = models.expose_dropout(net, SHAPE)
    masks = models.draw_masks(exposed, 3, seeded(0))
    by_hand = net[4](net[2](net[1](net[0](x))) * masks["3.mask"])
    output = functional_call(exposed, {**models.weights(net), **masks}, (x,))
    assert output.allclose(by_hand)


def test_expose_dropout_leaves_the_original_as_it_was():
    net = Nested().train()
    exposed = models.expose_dropout(net, SHAPE)
    assert isinstance(net.drop, nn.Dropout)
    assert net.training
    for p, q in zip(net.parameters(), exposed.parameters(), strict=True):
        assert p.equal(q)
        assert p is not q
    for module in exposed.modules():
        assert not module._forward_pre_hooks
        assert not module._forward_hooks


def test_expose_dropout_keeps_the_mode_of_every_layer():
    net = plain(nn.BatchNorm1d(5), nn.Dropout(0.5)).train()
    net[2].eval()  # frozen statistics in a model that trains
    exposed = models.expose_dropout(net, SHAPE)
    assert (exposed.training, exposed[2].training) == (True, False)


def test_expose_dropout_does_not_update_the_statistics_of_batchnorm():
    net = plain(nn.BatchNorm1d(5), nn.Dropout(0.5)).train()
    assert models.expose_dropout(net, SHAPE)[2].running_mean.equal(net[2].running_mean)


def test_expose_dropout_keeps_the_dtype():
    exposed = models.expose_dropout(plain(nn.Dropout(0.5)).double(), SHAPE)
    (layer,) = models.dropouts(exposed).values()
    assert layer.mask.dtype == torch.float64


def test_expose_dropout_takes_modules_called_by_keyword():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(36, 4)
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return self.head(input=self.drop(x.flatten(1)))

    assert list(models.dropouts(models.expose_dropout(Named(), SHAPE))) == ["drop.mask"]


SHARED_LAYER = nn.Dropout(0.5)


@pytest.mark.parametrize(
    ("net", "came"),
    [
        (plain(SHARED_LAYER, nn.ReLU(), SHARED_LAYER), "2 is a Dropout called 2 times"),
        (plain(nn.AlphaDropout(0.5)), "2 is a AlphaDropout called 1 times"),
    ],
    ids=["twice", "alpha"],
)
def test_expose_dropout_refuses_a_dropout_that_no_mask_describes(net, came):
    message = rf"{came} in a forward pass; only nn\.Dropout and .*use one nn\.Dropout per place"
    with pytest.raises(ValueError, match=message):
        models.expose_dropout(net, SHAPE)


def test_expose_dropout_refuses_a_dropout_that_is_never_reached():
    net = Nested()
    net.spare = nn.Dropout(0.5)
    with pytest.raises(ValueError, match=r"spare is a Dropout called 0 times"):
        models.expose_dropout(net, SHAPE)


def test_expose_dropout_names_a_dropout_that_keeps_nothing():
    with pytest.raises(ValueError, match=r"2: dropout needs a rate in \[0, 1\), got 1"):
        models.expose_dropout(plain(nn.Dropout(1.0)), SHAPE)


def test_expose_dropout_names_a_wrong_shape():
    with pytest.raises(ValueError, match=r"\(1, 9, 9\)"):
        models.expose_dropout(Nested(), (1, 9, 9))


# Channels


class Channels(nn.Module):
    """A convolution, channel dropout and a classifier."""

    def __init__(self, kind=nn.Dropout2d):
        super().__init__()
        self.conv, self.drop = nn.Conv2d(1, 5, 3, stride=2), kind(0.5)
        self.fc = nn.Linear(20, 4)

    def forward(self, x):
        """Logits."""
        return self.fc(self.drop(self.conv(x).sigmoid()).flatten(1))


def test_expose_dropout_gives_channels_one_number_each(x, seeded):
    exposed = models.expose_dropout(Channels(), SHAPE)
    (mask,) = models.draw_masks(exposed, 3, seeded(0)).values()
    assert mask.shape == (3, 5, 1, 1)
    net = Channels()
    net.load_state_dict(exposed.state_dict())
    by_hand = net.fc((net.conv(x).sigmoid() * mask).flatten(1))
    assert functional_call(exposed, {"drop.mask": mask}, (x,)).allclose(by_hand)


def test_expose_dropout_refuses_channel_dropout_without_channels():
    with pytest.raises(ValueError, match=r"2 is a Dropout1d that gets features of shape \(5,\)"):
        models.expose_dropout(plain(nn.Dropout1d(0.5)), SHAPE)
