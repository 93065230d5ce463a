"""One honest round: the gradient of plain autograd, and errors that name the way out."""

from dataclasses import fields, replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout, one_hot

from dlgutils import Batch, models, share
from dlgutils.federated import checks, client
from dlgutils.types import Shared

ONE = Batch(torch.full((1, 1, 8, 8), 0.25), torch.tensor([1]))
THREE = Batch(
    torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double(),
    torch.tensor([0, 2, 3]),
)


class Fixed(nn.Module):
    """Multiplication by a mask that was drawn before."""

    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def forward(self, x):
        """x times the mask."""
        return x * self.mask


class Hidden(nn.Module):
    """Dropout as a function: no layer says that it is there."""

    def forward(self, x):
        """x with half of its entries dropped, in train mode."""
        return dropout(x, 0.5, self.training)


def user_model(*layers):
    """A model as a user writes it: an MLP with these layers before the classifier."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 5), nn.Sigmoid(), *layers, nn.Linear(5, 4)
    ).double()


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
        singles.append(client.gradient(shared.weights, model, x[[k]], y[[k]], own_masks))
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
    hard = client.loss(shared.weights, model, x, y)
    soft = client.loss(shared.weights, model, x, one_hot(y, 4).double())
    assert hard.isclose(soft)


def test_gradient_with_a_wrong_mask_is_another(tiny):
    model, (x, y), shared, *_ = tiny(dropout=0.5)
    naive = client.gradient(shared.weights, model, x, y)
    assert not naive["fc.weight"].allclose(shared.gradient["fc.weight"], rtol=0.1)


# What leaves the device


def test_share_keeps_the_masks_secret(tiny, seeded):
    """No field holds them, and masks drawn by the caller or by `share` make no difference."""
    model, batch, *_ = tiny(batch=3, dropout=0.5)
    masks = models.draw_masks(model, 3, seeded(0))
    by_masks = share(model, batch, masks=masks)
    by_generator = share(model, batch, seeded(0))
    assert [field.name for field in fields(Shared)] == ["weights", "gradient", "x_shape"]
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


# Bad input


def refused(message, model=None, batch=ONE, generator=None, masks=None):
    """share() raises a ValueError of this message."""
    model = model or models.lenet((1, 8, 8), 4)
    with pytest.raises(ValueError, match=message):
        share(model, batch, generator, masks=masks)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 1, 9, 8), (1, 1, 28, 28)])
def test_share_refuses_images_of_another_shape(shape):
    refused(
        r"got images of shape .*built for \(1, 8, 8\).*models\.lenet",
        batch=Batch(torch.zeros(shape), ONE.y),
    )


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 1, 9, 8)])
def test_share_refuses_images_that_a_users_model_does_not_take(shape):
    batch = Batch(torch.zeros(shape).double(), ONE.y)
    refused(
        rf"not take images of shape \({shape[1]}, {shape[2]}, 8\): .*; resize them or build",
        user_model(),
        batch,
    )


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8), (0, 1, 8, 8), (1, 1, 1, 8, 8)])
def test_share_wants_four_axes(shape):
    refused(
        r"shape \(batch, channels, height, width\), got \(.*try x\[None\]",
        batch=Batch(torch.zeros(shape), ONE.y),
    )


@pytest.mark.parametrize(
    ("factor", "came"), [(255, "63.8"), (-1, "-0.25"), (torch.nan, "nan"), (torch.inf, "inf")]
)
def test_share_refuses_images_outside_the_unit_interval(factor, came):
    refused(
        rf"values in \[0, 1\], got {came}.*divide bytes by 255", batch=Batch(ONE.x * factor, ONE.y)
    )


def test_share_refuses_a_single_bad_pixel():
    x = ONE.x.clone()
    x[0, 0, 3, 3] = torch.nan
    refused(r"values in \[0, 1\], got nan", batch=Batch(x, ONE.y))


@pytest.mark.parametrize("label", [4, -1, 100])
def test_share_refuses_labels_that_the_model_does_not_know(label):
    refused(
        rf"labels lie in 0 … 3 for this model, got {label}",
        batch=Batch(ONE.x, torch.tensor([label])),
    )


@pytest.mark.parametrize(
    "y", [torch.tensor([1.0]), torch.tensor([1, 1]), torch.tensor(1), torch.eye(4)[:1]], ids=str
)
def test_share_wants_one_class_id_per_image(y):
    refused(rf"class ids .*\(1,\).* got {y.dtype} of shape", batch=Batch(ONE.x, y))


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool])
def test_share_wants_labels_of_the_type_that_torch_wants(dtype):
    refused(rf"int64.* got {dtype}", batch=Batch(ONE.x, ONE.y.to(dtype)))


def test_share_wants_images_and_model_of_one_dtype():
    batch = Batch(ONE.x.double(), ONE.y)
    refused(
        r"images are torch\.float64 .*model is torch\.float32 .*"
        r"x\.to\(torch\.float32\).*model\.to\(x\)",
        batch=batch,
    )


def test_share_refuses_dropout_without_a_generator():
    refused(
        r"dropout\.mask: .*none came; pass torch\.Generator",
        models.lenet((1, 8, 8), 4, dropout=0.5),
    )


def test_share_refuses_masks_beside_a_generator(tiny, seeded):
    model, batch, _, masks = tiny(dropout=0.5)
    message = r"masks are given or drawn .*both came; pass share\(model, batch, generator\) or"
    refused(message, model, batch, seeded(0), masks)


@pytest.mark.parametrize(
    "shape", [(1, 48), (3, 47), (48,), (3, 48, 1)], ids=["one", "narrow", "no batch", "axes"]
)
def test_share_refuses_masks_of_a_wrong_shape(tiny, shape):
    model, batch, *_ = tiny(batch=3, dropout=0.5)
    came = ", ".join(map(str, shape))
    message = (
        rf"dropout\.mask has one mask per image, \(3, 48\), got \({came},?\); "
        r"draw them with models\.draw_masks\(model, batch, generator\)"
    )
    refused(message, model, batch, masks={"dropout.mask": torch.ones(shape).double()})


@pytest.mark.parametrize("names", [["droput.mask"], ["dropout.mask", "fc.bias"]], ids=str)
def test_share_lists_the_masks_there_are_for_an_unknown_one(tiny, names):
    """A weight is not a mask: it would replace the model's own."""
    model, batch, *_ = tiny(dropout=0.5)
    masks = dict.fromkeys(names, torch.ones(1, 48).double())
    message = rf"no mask is called {names[-1]}; this model has \['dropout\.mask'\]"
    refused(message, model, batch, masks=masks)


def test_share_refuses_batchnorm_in_train_mode():
    model = user_model(nn.BatchNorm1d(5)).train()
    batch = Batch(ONE.x.double(), ONE.y)
    refused(r"3 is a BatchNorm1d in train mode: .*model\.eval\(\)", model, batch)
    assert share(model.eval(), batch).gradient["3.weight"].isfinite().all()


def test_share_refuses_an_active_dropout_of_torch():
    model = user_model(nn.Dropout(0.5)).train()
    batch = Batch(ONE.x.double(), ONE.y)
    refused(
        r"3 is an active Dropout, .*models\.expose_dropout\(model, x_shape\), or model\.eval\(\)",
        model,
        batch,
    )
    assert share(model.eval(), batch).gradient["4.weight"].any()


def test_share_refuses_randomness_that_no_layer_shows():
    model = user_model(Hidden()).train()
    batch = Batch(ONE.x.double(), ONE.y)
    state = torch.get_rng_state()
    refused(
        r"draws random numbers in its forward pass, .*models\.expose_dropout, or .*model\.eval\(\)",
        model,
        batch,
    )
    assert torch.get_rng_state().equal(state)
    assert share(model.eval(), batch).gradient["4.weight"].any()


@pytest.mark.parametrize("train", [True, False])
def test_share_refuses_batchnorm_without_statistics_in_either_mode(train):
    model = user_model(nn.BatchNorm1d(5, track_running_stats=False)).train(train)
    batch = Batch(ONE.x.double(), ONE.y)
    refused(
        r"3 is a BatchNorm1d without running statistics: .*even in eval mode; .*"
        r"track_running_stats=True",
        model,
        batch,
    )


def test_share_and_check_refuse_a_model_without_parameters(tiny):
    message = r"this Sequential has no parameters, hence no gradient to share; give it a layer"
    refused(message, nn.Sequential(nn.Flatten()))
    with pytest.raises(ValueError, match=message):
        checks.check(nn.Sequential(nn.Flatten()), tiny().shared)


def test_share_refuses_a_model_that_returns_maps():
    refused(
        r"a classifier returns \(batch, classes\), this model returned \(1, 4, 6, 6\)",
        nn.Sequential(nn.Conv2d(1, 4, 3)),
    )


def test_share_wants_labels_where_the_images_are():
    refused(
        r"class ids of shape \(1,\) on cpu, got torch\.int64 .* on meta",
        batch=Batch(ONE.x, ONE.y.to("meta")),
    )


def test_share_cuts_off_images_that_require_a_gradient(tiny):
    model, batch, shared, *_ = tiny()
    same = share(model, batch._replace(x=batch.x.clone().requires_grad_()))
    assert not any(g.requires_grad for g in same.gradient.values())
    assert same.gradient["fc.bias"].equal(shared.gradient["fc.bias"])


@pytest.mark.parametrize(("rate", "there"), [(0.5, r"\['dropout\.mask'\]"), (None, "none")])
def test_loss_lists_the_masks_there_are_for_a_misspelt_one(rate, there):
    model = user_model() if rate is None else models.lenet((1, 8, 8), 4, dropout=rate).double()
    masks = {"droput.mask": torch.ones(1)}
    with pytest.raises(
        ValueError,
        match=rf"no mask is called droput\.mask; this model has {there} .*expose_dropout",
    ):
        client.loss(models.weights(model), model, *THREE, masks)


def with_gradient(shared, **changes):
    """The same round with some tensors of its gradient changed or added."""
    return replace(shared, gradient={**shared.gradient, **changes})


def test_check_refuses_the_gradient_of_another_model(tiny, seeded):
    model, _, shared, *_ = tiny()
    other = models.init_default(models.lenet((1, 8, 8), 5).double(), seeded(0))
    with pytest.raises(
        ValueError,
        match=r"weights of another model: fc\.bias is \(4,\) there and \(5,\) in this.*2 of 8",
    ):
        checks.check(other, shared)
    with pytest.raises(
        ValueError,
        match=r"gradient of another model: extra is \(1,\) there and missing in this model",
    ):
        checks.check(model, with_gradient(shared, extra=torch.ones(1)))


def test_check_names_a_missing_gradient(tiny):
    model, _, shared, *_ = tiny()
    less = {name: g for name, g in shared.gradient.items() if name != "fc.bias"}
    with pytest.raises(
        ValueError, match=r"gradient of another model: fc\.bias is missing there.*client trained"
    ):
        checks.check(model, replace(shared, gradient=less))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_check_refuses_a_gradient_that_is_not_finite(tiny, bad):
    model, _, shared, *_ = tiny()
    poisoned = shared.gradient["fc.bias"].clone()
    poisoned[2] = bad
    with pytest.raises(
        ValueError, match=r"fc\.bias has 1 NaN or inf among its 4 numbers; .*look at"
    ):
        checks.check(model, with_gradient(shared, **{"fc.bias": poisoned}))


def test_check_refuses_a_zero_gradient(tiny):
    model, _, shared, *_ = tiny()
    with pytest.raises(ValueError, match=r"zero everywhere, .*multiplied by zero"):
        checks.check(
            model, replace(shared, gradient={name: 0 * g for name, g in shared.gradient.items()})
        )


def test_check_passes_a_usable_gradient(tiny):
    model, _, shared, *_ = tiny(dropout=0.5)
    checks.check(model, shared)
    checks.check(model, with_gradient(shared, **{"fc.weight": 0 * shared.gradient["fc.weight"]}))


def test_share_refuses_a_layer_under_two_names_and_leaves_it_whole():
    layer = nn.Linear(16, 16)
    model = nn.Sequential(nn.Flatten(), layer, nn.Sigmoid(), layer)
    with pytest.raises(
        ValueError, match=r"3 is a Linear .* under another name too.*call it twice in forward"
    ):
        share(model, Batch(torch.rand(1, 1, 4, 4), torch.tensor([3])))
    assert isinstance(layer.weight, nn.Parameter)


def test_share_takes_tied_weights():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.Sigmoid(), nn.Linear(16, 16))
    model[3].weight = model[1].weight
    shared = share(model, Batch(torch.rand(1, 1, 4, 4), torch.tensor([3])))
    assert list(shared.gradient) == ["1.weight", "1.bias", "3.bias"]
    assert isinstance(model[3].weight, nn.Parameter)
