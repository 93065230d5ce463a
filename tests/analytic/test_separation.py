"""A batch comes apart, or the answer is no: whatever is certified is the truth."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dlgutils import Batch, models, share
from dlgutils.analytic.separation import separate

SHAPE = (1, 6, 6)


def round_of(
    seed,
    batch,
    p,
    *,
    features=96,
    classes=12,
    bound=None,
    dtype=torch.float32,
    activation=nn.Sigmoid,
    y=None,
):
    """A model with one hidden layer, what a client shares of random images, its labels and what entered the classifier."""
    gen = torch.Generator().manual_seed(seed)
    model = models.mlp(SHAPE, (features,), classes, dropout=p, activation=activation).to(dtype)
    model = (
        models.init_default(model, gen) if bound is None else models.init_uniform(model, gen, bound)
    )
    y = torch.randint(classes, (batch,), generator=gen) if y is None else torch.tensor(y)
    x = torch.rand(batch, *SHAPE, generator=gen, dtype=dtype)
    shared = share(model, Batch(x, y), gen, reveal_masks=True)
    masks = dict(shared.masks)
    features = model.body[:2](x.flatten(1)).detach() * masks.get("body.2.mask", 1)
    return model, replace(shared, masks=None), y, features, masks


def assert_true(reading, y, features, masks, *, error=1e-2):
    """The reading is the truth, in some order of the images."""
    order = torch.cdist(reading.features, features).argmin(1)
    assert sorted(order.tolist()) == list(range(len(y)))
    assert reading.y.equal(y[order])
    assert (reading.features - features[order]).abs().max() < error * features.abs().max()
    assert reading.masks.keys() == masks.keys()
    bright = features[order] > error * features.max()
    for name, mask in masks.items():
        told = bright | (mask[order] == 0)
        assert reading.masks[name].where(told, 0).equal(mask[order].where(told, 0))
        assert reading.masks[name].unique().tolist() == mask.unique().tolist()


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(2, 12),
    p=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9]),
    features=st.sampled_from([16, 48, 200]),
    classes=st.sampled_from([3, 10, 40]),
    bound=st.sampled_from([None, 0.5]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    activation=st.sampled_from([nn.Sigmoid, nn.ReLU]),
)
def test_what_is_certified_is_the_truth(
    seed, batch, p, features, classes, bound, dtype, activation
):
    options = {
        "features": features,
        "classes": classes,
        "bound": bound,
        "dtype": dtype,
        "activation": activation,
    }
    model, shared, *truth = round_of(seed, batch, p, **options)
    separation = separate(model, shared)
    assert (separation.reading is None) == bool(separation.why)
    if separation.reading is not None:
        assert separation.found == batch
        assert_true(separation.reading, *truth)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("batch", "p"), [(2, 0.3), (4, 0.1), (4, 0.5), (8, 0.5), (8, 0.9), (24, 0.5)]
)
def test_batches_come_apart_because_of_dropout(batch, p, dtype, seed):
    model, shared, *truth = round_of(seed, batch, p, features=768, classes=40, dtype=dtype)
    separation = separate(model, shared)
    assert separation.why == ""
    assert_true(separation.reading, *truth, error=1e-3 if dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize("batch", [2, 3])
def test_relus_give_a_batch_away_without_dropout(batch):
    model, shared, *truth = round_of(0, batch, 0.0, features=256, activation=nn.ReLU)
    assert_true(separate(model, shared).reading, *truth)


def test_equal_labels_are_told_apart():
    model, shared, *truth = round_of(1, 4, 0.5, features=256, y=[3, 3, 3, 7])
    assert_true(separate(model, shared).reading, *truth)


def test_delta_is_that_of_the_images():
    model, shared, y, features, _ = round_of(0, 4, 0.5, features=256, dtype=torch.float64)
    reading = separate(model, shared).reading
    delta = (model.fc(features).softmax(1) - nn.functional.one_hot(y, 12)) / 4
    order = torch.cdist(reading.features, features).argmin(1)
    torch.testing.assert_close(reading.delta, delta[order].detach())


def test_the_same_gradient_gives_the_same_answer():
    model, shared, *_ = round_of(0, 6, 0.5)
    first, again = separate(model, shared).reading, separate(model, shared).reading
    assert first.features.equal(again.features)


@pytest.mark.parametrize("batch", [2, 4])
def test_sigmoids_without_dropout_keep_a_batch_together(batch):
    model, shared, *_ = round_of(0, batch, 0.0)
    separation = separate(model, shared)
    assert (separation.reading, separation.found) == (None, 0)
    assert "there is no dropout to make them" in separation.why


def test_noise_is_noticed():
    model, shared, *_ = round_of(0, 4, 0.5)
    gen = torch.Generator().manual_seed(1)
    noisy = {
        name: g + 1e-3 * g.std() * torch.randn(g.shape, generator=gen)
        for name, g in shared.gradient.items()
    }
    separation = separate(model, replace(shared, gradient=noisy))
    assert separation.reading is None
    assert "the gradient has rank 12, that of 4 images has at most 4: noise" in separation.why


@pytest.mark.parametrize("scale", [1.01, 0.5, -1.0])
def test_a_gradient_of_another_loss_is_noticed(scale):
    model, shared, *_ = round_of(0, 4, 0.5)
    other = {name: scale * g for name, g in shared.gradient.items()}
    separation = separate(model, replace(shared, gradient=other))
    assert separation.reading is None
    assert "yield another gradient" in separation.why
    assert separation.residual > 1e-3


def test_other_weights_are_noticed():
    model, shared, *_ = round_of(0, 4, 0.5)
    other = {
        name: w + 1e-3
        for name, w in models.weights(models.init_default(model, torch.Generator())).items()
    }
    assert separate(model, replace(shared, weights=other)).reading is None


def test_more_images_than_independent_deltas():
    model, shared, *_ = round_of(0, 5, 0.5, classes=5)
    separation = separate(model, shared)
    assert separation.reading is None
    assert "5 images have as many δ, but of 5 classes only 4 can be independent" in separation.why


def test_an_image_that_came_twice(seeded):
    model = models.init_default(models.mlp(SHAPE, (64,), 12, activation=nn.ReLU), seeded(0))
    image = torch.rand(1, *SHAPE, generator=seeded(1))
    separation = separate(
        model, share(model, Batch(image.repeat(2, 1, 1, 1), torch.tensor([3, 3])))
    )
    assert separation.reading is None
    assert "only 1 of the 2 δ are independent" in separation.why


def test_one_image_is_sent_to_read():
    model, shared, *_ = round_of(0, 1, 0.5)
    with pytest.raises(ValueError, match=r"batch of one .*masks\.read"):
        separate(model, shared)


def test_a_gradient_of_another_model():
    _, shared, *_ = round_of(0, 4, 0.5)
    with pytest.raises(ValueError, match=r"the weights of another model"):
        separate(models.mlp(SHAPE, (50,), 12, dropout=0.5), shared)


def test_a_classifier_without_bias(seeded):
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 5, bias=False))
    shared = share(model, Batch(torch.rand(2, *SHAPE, generator=seeded(0)), torch.tensor([3, 1])))
    with pytest.raises(ValueError, match=r"3\.weight has no bias.*masks\.read"):
        separate(model, shared)
