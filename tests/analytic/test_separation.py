"""A batch comes apart, or there is a reason why not: whatever is certified is the truth."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dlgutils import Batch, Protocol, models, share
from dlgutils.analytic.separation import separate
from dlgutils.federated import honest
from tests.helpers.rounds import confident_round

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
    """A model with one hidden layer, what a client shares of random images, and the truth.

    The truth is three things: labels, what entered the classifier, and the masks.
    """
    gen = torch.Generator().manual_seed(seed)
    model = models.mlp(SHAPE, (features,), classes, dropout=p, activation=activation)
    model = model.to(dtype)
    if bound is None:
        model = models.init_default(model, gen)
    else:
        model = models.init_uniform(model, gen, bound)
    drawn = y is None
    y = torch.randint(classes, (batch,), generator=gen) if drawn else torch.tensor(y)
    x = torch.rand(batch, *SHAPE, generator=gen, dtype=dtype)
    _, _, shared, masks = honest(model, Batch(x, y), gen, init=None)
    hidden = model.body[:2](x.flatten(1)).detach()
    entered = hidden * masks.get("body.2.mask", 1)
    return model, shared, y, entered, masks


def order_of(reading, features):
    """Which of the true images each image of a reading is."""
    return torch.cdist(reading.features, features).argmin(1)


def assert_true(reading, y, features, masks, *, error=1e-2):
    """The reading is the truth, in some order of the images."""
    order = order_of(reading, features)
    assert sorted(order.tolist()) == list(range(len(y)))
    assert reading.y.equal(y[order])
    off = (reading.features - features[order]).abs()
    assert off.max() < error * features.abs().max()
    assert reading.masks.keys() == masks.keys()
    bright = features[order] > error * features.max()
    for name, mask in masks.items():
        known = bright | (mask[order] == 0)
        truth = mask[order].where(known, 0)
        assert reading.masks[name].where(known, 0).equal(truth)
        assert reading.masks[name].unique().tolist() == mask.unique().tolist()


def assert_within_error_bars(separation, features):
    """The features of every image are as near to the truth as its error bar says."""
    found = separation.reading.features
    off = (found - features[order_of(separation.reading, features)]).norm(dim=1)
    length = found.square().sum(1).add(1).sqrt()
    rounding = 4 * torch.finfo(found.dtype).eps  # of the features that are returned
    assert (off <= (separation.error + rounding) * length).all()


@pytest.mark.slow
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
def test_separate_certifies_only_the_truth(
    seed, batch, p, features, classes, bound, dtype, activation
):
    """Slow, about three minutes of one core: forty batches, some searched for in vain."""
    model, shared, *truth = round_of(
        seed,
        batch,
        p,
        features=features,
        classes=classes,
        bound=bound,
        dtype=dtype,
        activation=activation,
    )
    separation = separate(model, shared)
    assert (separation.n_found == batch) == (separation.reason == "")
    assert (separation.n_found == 0) == (separation.reading is None)
    if separation.n_found == batch:
        assert_true(separation.reading, *truth, error=0.1)
    if separation.reading is not None:
        assert len(separation.reading.y) == len(separation.error) == separation.n_found
        assert_within_error_bars(separation, truth[1])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("batch", "p"), [(2, 0.3), (4, 0.1), (4, 0.5), (8, 0.5), (8, 0.9), (24, 0.5)]
)
def test_separate_takes_batches_apart_because_of_dropout(batch, p, dtype, seed):
    model, shared, *truth = round_of(seed, batch, p, features=768, classes=40, dtype=dtype)
    separation = separate(model, shared)
    assert separation.reason == ""
    error = 1e-3 if dtype == torch.float32 else 1e-9
    assert_true(separation.reading, *truth, error=error)


@pytest.mark.parametrize("batch", [2, 3])
def test_separate_takes_batches_apart_because_of_relus(batch):
    model, shared, *truth = round_of(0, batch, 0.0, features=256, activation=nn.ReLU)
    assert_true(separate(model, shared).reading, *truth)


def test_separate_takes_equal_labels_apart():
    model, shared, *truth = round_of(1, 4, 0.5, features=256, y=[3, 3, 3, 7])
    assert_true(separate(model, shared).reading, *truth)


def test_separate_reads_the_delta_of_the_images():
    model, shared, y, features, _ = round_of(0, 4, 0.5, features=256, dtype=torch.float64)
    reading = separate(model, shared).reading
    target = nn.functional.one_hot(y, 12)
    delta = (model.fc(features).softmax(1) - target) / 4
    order = order_of(reading, features)
    torch.testing.assert_close(reading.delta, delta[order].detach())


def test_separate_returns_the_same_again():
    model, shared, *_ = round_of(0, 6, 0.5)
    first = separate(model, shared).reading
    again = separate(model, shared).reading
    assert first.features.equal(again.features)


@pytest.mark.parametrize("batch", [2, 4, 6])
def test_separate_needs_neither_dropout_nor_zeros(batch):
    model, shared, *truth = round_of(0, batch, 0.0)
    assert_true(separate(model, shared).reading, *truth)


def test_separate_takes_many_equal_labels_apart_in_double_precision():
    model, shared, *truth = round_of(1, 4, 0.0, dtype=torch.float64, bound=0.5, y=[3, 3, 3, 7])
    separation = separate(model, shared)
    assert_true(separation.reading, *truth, error=1e-6)
    assert separation.error.max() < 1e-6


def test_separate_says_that_images_are_too_alike():
    model, shared, *_ = round_of(1, 10, 0.0, y=[3] * 10)
    separation = separate(model, shared)
    assert separation.reading is None
    assert "0 of 10 images were told apart" in separation.reason
    assert "have nearly the same δ" in separation.reason


def test_separate_reads_the_images_beside_one_that_left_no_trace():
    model, shared, (_, y), features = confident_round()
    separation = separate(model, shared)
    assert separation.n_found == 3
    assert separation.reason.startswith("3 of 4 images were told apart; of the others, 1 left no")
    order = order_of(separation.reading, features)
    assert sorted(order.tolist()) == [1, 2, 3]
    assert separation.reading.y.equal(y[order])
    assert_within_error_bars(separation, features)


def test_separate_reads_the_one_image_with_a_trace_through_dropout(seeded):
    """Zeros cannot tell it from others: all of its own are zeros of the gradient."""
    model = models.init_default(models.mlp(SHAPE, (96,), 12, dropout=0.5).double(), seeded(0))
    batch = Batch(torch.rand(2, *SHAPE, generator=seeded(1)).double(), torch.tensor([4, 7]))
    masks = models.draw_masks(model, 2, seeded(2))
    sure, other = (model.body[:2](batch.x.flatten(1)) * masks["body.2.mask"]).detach()
    alone = sure - (sure @ other) / (other @ other) * other
    with torch.no_grad():
        model.fc.weight[4] += 60 * alone / (alone @ sure)
    separation = separate(model, share(model, batch, masks=masks))
    assert separation.n_found == 1
    assert separation.reading.y.tolist() == [7]
    assert separation.reading.features[0].allclose(other)
    assert separation.reading.masks["body.2.mask"][0].equal(masks["body.2.mask"][1])


def test_separate_refuses_labels_that_are_not_those_of_the_images_with_a_trace():
    model, shared, (_, y), _ = confident_round()
    assert separate(model, shared, y=y).n_found == 3
    wrong = torch.where(y == y[1], (y[1] + 1) % 12, y)
    separation = separate(model, shared, y=wrong)
    assert separation.reading is None
    assert "are not among those given" in separation.reason


def test_separate_takes_the_sum_of_the_losses_too():
    model, shared, *truth = round_of(0, 4, 0.0)
    summed = {name: 4 * g for name, g in shared.gradient.items()}
    assert_true(separate(model, replace(shared, gradient=summed)).reading, *truth)


def test_separate_takes_labels_that_are_known_and_a_classifier_without_bias(seeded):
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 32), nn.Tanh(), nn.Linear(32, 9, bias=False))
    x = torch.rand(3, *SHAPE, generator=seeded(0), dtype=torch.float64)
    y = torch.tensor([3, 1, 8])
    model = models.init_default(model.double(), seeded(1))
    separation = separate(model, share(model, Batch(x, y)), y=y)
    truth = model[:3](x).detach()
    distances = torch.cdist(separation.reading.features, truth).min(1)
    assert distances.values.max() < 1e-6
    assert separation.reading.y.equal(y[distances.indices])


def test_separate_certifies_nothing_with_a_wrong_label():
    model, shared, y, *_ = round_of(0, 4, 0.0)
    wrong = y.clone()
    wrong[0] = (y[0] + 1) % 12
    assert separate(model, shared, y=wrong).reading is None


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1, 2, 3, 4], "int64 tensor of class ids, got list"),
        (torch.ones(4), r"int64 tensor of class ids, got torch\.float32"),
        (torch.tensor([0, 1, 2, 12]), "labels lie in 0 … 11 for this model, got 0 to 12"),
    ],
)
def test_separate_refuses_labels_that_are_none(y, message):
    model, shared, *_ = round_of(0, 4, 0.0)
    with pytest.raises(ValueError, match=message):
        separate(model, shared, y=y)


def test_separate_refuses_labels_of_another_number():
    model, shared, *_ = round_of(0, 4, 0.5)
    with pytest.raises(ValueError, match=r"4 images, hence labels of shape \(4,\), got \(3,\)"):
        separate(model, shared, y=torch.zeros(3, dtype=torch.int64))


def test_separate_notices_noise():
    model, shared, *_ = round_of(0, 4, 0.5)
    gen = torch.Generator().manual_seed(1)
    noisy = {}
    for name, g in shared.gradient.items():
        noise = torch.randn(g.shape, generator=gen)
        noisy[name] = g + 1e-3 * g.std() * noise
    separation = separate(model, replace(shared, gradient=noisy))
    assert separation.reading is None
    reason = "the gradient has rank 12, that of 4 images has at most 4: noise"
    assert reason in separation.reason


def multiplied(shared, factor, **protocol):
    gradient = {name: factor * g for name, g in shared.gradient.items()}
    return replace(shared, gradient=gradient, protocol=Protocol(**protocol))


@pytest.mark.parametrize("p", [0.0, 0.5])
@pytest.mark.parametrize("scale", [1.01, 0.1, -1.0])
def test_separate_says_by_what_a_gradient_was_multiplied(scale, p):
    model, shared, *_ = round_of(0, 4, p)
    separation = separate(model, multiplied(shared, scale))
    assert separation.reading is None
    assert separation.reason.startswith(f"this gradient is {scale:.4g} times what")
    assert f"Protocol(scale={scale:.4g})" in separation.reason
    stated = separate(model, multiplied(shared, 2 * scale, scale=2.0))
    assert f"Protocol(scale={2 * scale:.4g})" in stated.reason


@pytest.mark.parametrize("p", [0.0, 0.5])
@pytest.mark.parametrize("scale", [1.0, 7.0, -1e-3])
def test_separate_finds_an_unknown_scale(scale, p):
    model, shared, *truth = round_of(0, 4, p)
    separation = separate(model, multiplied(shared, scale, scale=None))
    assert separation.reason == ""
    assert separation.scale == pytest.approx(scale, rel=1e-5)
    assert_within_error_bars(separation, truth[1])
    delta = separation.reading.delta / scale
    assert_true(separation.reading._replace(delta=delta), *truth)


def test_separate_finds_an_unknown_scale_without_bias_too(seeded):
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 20, bias=False)).double()
    model = models.init_default(model, seeded(0))
    x = torch.rand(3, *SHAPE, generator=seeded(1), dtype=torch.float64)
    batch = Batch(x, torch.tensor([3, 3, 7]))
    shared = multiplied(share(model, batch), 5.0, scale=None)
    separation = separate(model, shared, y=batch.y)
    assert separation.scale == pytest.approx(5, rel=1e-4)
    assert separation.reading.y.tolist() in ([3, 3, 7], [3, 7, 3], [7, 3, 3])


def test_separate_refuses_an_unknown_scale_where_an_image_came_twice(seeded):
    model = models.init_default(models.mlp(SHAPE, (64,), 12, activation=nn.ReLU), seeded(0))
    image = torch.rand(1, *SHAPE, generator=seeded(1))
    x = torch.cat([image, image])
    shared = multiplied(share(model, Batch(x, torch.tensor([3, 3]))), 5.0, scale=None)
    separation = separate(model, shared)
    assert separation.reading is None
    assert "look like one image and twice the scale" in separation.reason


def test_separate_states_the_scale_of_a_sum_that_was_not_announced():
    model, shared, *_ = round_of(0, 4, 0.0)
    assert separate(model, shared).scale == pytest.approx(1)
    assert separate(model, multiplied(shared, 4)).scale == pytest.approx(4)
    announced = partial(nn.functional.cross_entropy, reduction="sum")
    assert separate(model, multiplied(shared, 4, loss=announced)).scale == pytest.approx(1)


def test_separate_notices_other_weights():
    model, shared, *_ = round_of(0, 4, 0.5)
    fresh = models.init_default(model, torch.Generator())
    other = {name: w + 1e-3 for name, w in models.weights(fresh).items()}
    assert separate(model, replace(shared, weights=other)).reading is None


def test_separate_needs_fewer_images_than_classes():
    model, shared, *_ = round_of(0, 5, 0.5, classes=5)
    separation = separate(model, shared)
    assert separation.reading is None
    reason = "5 images have 5 δ, but with 5 classes only 4 of them can be independent"
    assert reason in separation.reason


def test_separate_notices_an_image_that_came_twice(seeded):
    model = models.mlp(SHAPE, (64,), 12, activation=nn.ReLU)
    model = models.init_default(model, seeded(0))
    image = torch.rand(1, *SHAPE, generator=seeded(1))
    x = torch.cat([image, image])
    shared = share(model, Batch(x, torch.tensor([3, 3])))
    separation = separate(model, shared)
    assert separation.reading is None
    assert "only 1 of the 2 δ are independent" in separation.reason


def test_separate_begins_at_least_once():
    model, shared, *_ = round_of(0, 4, 0.5)
    for effort in (0, 1.5, "3", None):
        with pytest.raises(ValueError, match=rf"effort .* whole number.*, got {effort!r}"):
            separate(model, shared, effort=effort)


def test_separate_sends_one_image_to_read():
    model, shared, *_ = round_of(0, 1, 0.5)
    with pytest.raises(ValueError, match=r"batch of one .*masks\.read"):
        separate(model, shared)


def test_separate_refuses_a_gradient_of_another_model():
    _, shared, *_ = round_of(0, 4, 0.5)
    other = models.mlp(SHAPE, (50,), 12, dropout=0.5)
    with pytest.raises(ValueError, match=r"the weights of another model"):
        separate(other, shared)


def test_separate_refuses_a_classifier_without_bias(seeded):
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 5, bias=False))
    x = torch.rand(2, *SHAPE, generator=seeded(0))
    shared = share(model, Batch(x, torch.tensor([3, 1])))
    with pytest.raises(ValueError, match=r"3\.weight has no bias.*masks\.read"):
        separate(model, shared)
