"""The honest client: the gradient of plain autograd, and nothing else leaves the device."""

from dataclasses import fields

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from dlgutils import Batch, models, share
from dlgutils.federated import local_training
from dlgutils.types import Shared
from tests.helpers.rounds import THREE, user_model


class Fixed(nn.Module):
    """Multiplication by a mask that was drawn before."""

    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def forward(self, x):
        """x times the mask."""
        return x * self.mask


def by_autograd(model, x, y):
    """The gradient by torch.autograd, {name: tensor}."""
    gradient = torch.autograd.grad(cross_entropy(model(x), y), model.parameters())
    return dict(zip(models.weights(model), gradient, strict=True))


def assert_same(gradient, expected, rtol=1e-10):
    """The same names, and the same numbers up to rounding."""
    assert gradient.keys() == expected.keys()
    for name, g in gradient.items():
        torch.testing.assert_close(g, expected[name], rtol=rtol, atol=1e-14, msg=name)


# Known answers


@pytest.mark.parametrize("batch", [1, 3])
def test_share_gives_the_gradient_of_autograd(tiny, batch):
    model, (x, y), shared, *_ = tiny(batch=batch)
    assert_same(shared.gradient, by_autograd(model, x, y))


def test_share_gives_the_gradient_of_the_masked_network(seeded):
    model = user_model(nn.Dropout(0.5))
    exposed = models.expose_dropout(model, (1, 8, 8))
    masks = models.draw_masks(exposed, 3, seeded(0))
    shared = share(exposed, THREE, masks=masks)
    model[3] = Fixed(masks["3.mask"])
    assert_same(shared.gradient, by_autograd(model, *THREE))


def test_gradient_of_a_batch_is_the_mean_of_those_of_its_images(tiny):
    model, (x, y), shared, masks = tiny(batch=3, dropout=0.5)
    singles = []
    for k in range(3):
        own_masks = {name: mask[[k]] for name, mask in masks.items()}
        singles.append(local_training.gradient(shared.weights, model, x[[k]], y[[k]], own_masks))
    mean = {}
    for name in shared.gradient:
        mean[name] = torch.stack([gradient[name] for gradient in singles]).mean(0)
    assert_same(shared.gradient, mean)


def test_share_gives_softmax_minus_onehot_for_the_last_bias(tiny):
    model, (x, y), shared, *_ = tiny()
    delta = (model(x).softmax(1) - one_hot(y, 4)).detach()[0]
    assert shared.gradient["fc.bias"].allclose(delta, rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_share_leaks_the_input_of_the_first_linear_layer(seed, seeded):
    model = models.init_default(models.mlp((1, 8, 8), (16,), 4).double(), seeded(seed))
    image = Batch(THREE.x[[seed]], THREE.y[[seed]])
    g = share(model, image).gradient
    leak = g["body.0.weight"] / g["body.0.bias"][:, None]
    assert leak.allclose(image.x.flatten().expand_as(leak), rtol=1e-9)


def test_loss_takes_probabilities_for_labels(tiny):
    model, (x, y), shared, *_ = tiny(batch=3)
    hard = local_training.loss(shared.weights, model, x, y)
    soft = local_training.loss(shared.weights, model, x, one_hot(y, 4).double())
    assert hard.isclose(soft)


def test_gradient_with_a_wrong_mask_is_another(tiny):
    model, (x, y), shared, *_ = tiny(dropout=0.5)
    naive = local_training.gradient(shared.weights, model, x, y)
    assert not naive["fc.weight"].allclose(shared.gradient["fc.weight"], rtol=0.1)


# What leaves the device


def test_share_keeps_the_masks_secret(tiny, seeded):
    """No field holds them, and masks drawn by the caller or by `share` make no difference."""
    model, batch, *_ = tiny(batch=3, dropout=0.5)
    masks = models.draw_masks(model, 3, seeded(0))
    by_masks = share(model, batch, masks=masks)
    by_generator = share(model, batch, seeded(0))
    public = ["weights", "gradient", "x_shape", "protocol", "sent_as", "checked"]
    assert [field.name for field in fields(Shared)] == public
    assert list(masks) == ["dropout.mask"]
    assert by_masks.gradient.keys() == by_generator.gradient.keys()
    for name, g in by_masks.gradient.items():
        assert g.equal(by_generator.gradient[name])
    assert not by_masks.gradient["fc.weight"].equal(
        share(model, batch, masks={}).gradient["fc.weight"]
    )


def test_share_draws_the_masks_from_the_generator(tiny, seeded):
    model, batch, *_ = tiny(dropout=0.5)
    rounds = [share(model, batch, seeded(seed)) for seed in (0, 0, 1)]
    one, same, other = (shared.gradient["fc.weight"] for shared in rounds)
    assert one.equal(same)
    assert not one.equal(other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_share_has_the_names_shapes_and_dtypes_of_the_model(tiny, dtype):
    model, _, shared, *_ = tiny(batch=2, dtype=dtype)
    for name, p in model.named_parameters():
        assert shared.weights[name].equal(p)
        assert (shared.gradient[name].shape, shared.gradient[name].dtype) == (p.shape, dtype)
    assert shared.x_shape == (2, 1, 8, 8)


def test_share_changes_neither_the_model_nor_the_global_random_state(tiny, seeded):
    model, batch, _, *_ = tiny(dropout=0.5)
    before, state = models.weights(model), torch.get_rng_state()
    share(model, batch, seeded(0))
    assert torch.get_rng_state().equal(state)
    assert all(p.equal(before[name]) and p.grad is None for name, p in model.named_parameters())
    assert (model.dropout.mask == 1).all()


def test_share_is_out_of_reach_for_later_training(tiny):
    model, _, shared, *_ = tiny()
    with torch.no_grad():
        model.fc.bias.fill_(9)
    assert not (shared.weights["fc.bias"] == 9).any()


def test_share_cuts_off_images_that_require_a_gradient(tiny):
    model, batch, shared, *_ = tiny()
    same = share(model, batch._replace(x=batch.x.clone().requires_grad_()))
    assert not any(g.requires_grad for g in same.gradient.values())
    assert same.gradient["fc.bias"].equal(shared.gradient["fc.bias"])


def test_share_takes_tied_weights():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.Sigmoid(), nn.Linear(16, 16))
    model[3].weight = model[1].weight
    shared = share(model, Batch(torch.rand(1, 1, 4, 4), torch.tensor([3])))
    assert list(shared.gradient) == ["1.weight", "1.bias", "3.bias"]
    assert isinstance(model[3].weight, nn.Parameter)


def test_share_keeps_no_graph_of_the_masks(tiny):
    model, batch, _, masks = tiny(dropout=0.5)
    tracked = {name: mask.clone().requires_grad_() for name, mask in masks.items()}
    assert not share(model, batch, masks=tracked).like.requires_grad
