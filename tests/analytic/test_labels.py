"""The sign rule: right wherever it answers, and silent nowhere."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dlgutils import Batch, Shared, models, share
from dlgutils.analytic import labels

RULES = [labels.by_sign, labels.by_row_sum]
SHAPE = (1, 4, 4)


class ClassifierFirst(nn.Module):
    """A model that registers its classifier before its body."""

    def __init__(self):
        super().__init__()
        self.fc, self.body = nn.Linear(3, 5), nn.Linear(16, 3)

    def forward(self, x):
        """Logits."""
        return self.fc(self.body(x.flatten(1)).sigmoid())


def shared_by(seed, y, activation=nn.Sigmoid, *, classes=5, bound=None, bias=0.0):
    """One round of a random MLP on a random image of class y; `bias` shifts the hidden layer."""
    gen = torch.Generator().manual_seed(seed)
    model = models.mlp(SHAPE, (8,), classes, activation=activation).double()
    model = (
        models.init_default(model, gen) if bound is None else models.init_uniform(model, gen, bound)
    )
    with torch.no_grad():
        model.body[0].bias += bias
    return share(model, Batch(torch.rand(1, *SHAPE, generator=gen).double(), torch.tensor([y])))


@given(
    seed=st.integers(0, 2**31),
    y=st.integers(0, 4),
    activation=st.sampled_from([nn.Sigmoid, nn.ReLU, nn.Tanh]),
    bound=st.sampled_from([None, 0.5, 1.5]),
)
def test_the_sign_of_the_bias_gradient_is_the_label(seed, y, activation, bound):
    found = labels.by_sign(shared_by(seed, y, activation, bound=bound))
    assert (found.tolist(), found.dtype) == ([y], torch.int64)


@given(seed=st.integers(0, 2**31), y=st.integers(0, 4), bound=st.sampled_from([None, 0.5, 1.5]))
def test_the_row_sums_are_right_with_sigmoid(seed, y, bound):
    assert labels.by_row_sum(shared_by(seed, y, bound=bound)).tolist() == [y]


@given(seed=st.integers(0, 2**31), y=st.integers(0, 4))
def test_the_row_sums_notice_features_of_a_negative_sum(seed, y):
    shared = shared_by(seed, y, nn.Tanh, bias=-3.0)
    assert labels.by_sign(shared).tolist() == [y]
    with pytest.raises(
        ValueError, match=r"row sums of fc\.weight has 4 negative entries.*attacks\.dlg"
    ):
        labels.by_row_sum(shared)


@pytest.mark.parametrize("y", [0, 1])
def test_of_two_classes_the_row_sums_name_the_wrong_one_if_the_features_are_negative(y):
    assert labels.by_row_sum(shared_by(0, y, nn.Tanh, classes=2, bias=-3.0)).tolist() == [1 - y]


@pytest.mark.parametrize("seed", range(5))
def test_dropout_does_not_hide_the_label(tiny, seed):
    _, batch, shared, *_ = tiny(seed, dropout=0.5)
    assert labels.by_sign(shared).equal(batch.y)
    assert labels.by_row_sum(shared).equal(batch.y)


@pytest.mark.parametrize("rule", RULES)
def test_a_batch_is_refused(tiny, rule):
    with pytest.raises(ValueError, match=r"needs one image, got a batch of 3, .*attacks\.dlg"):
        rule(tiny(batch=3).shared)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite_is_refused(tiny, rule, bad):
    shared = tiny().shared
    spoilt = {name: torch.full_like(g, bad) for name, g in shared.gradient.items()}
    with pytest.raises(ValueError, match=r"NaN or inf among its \d+ numbers"):
        rule(replace(shared, gradient=spoilt))


@pytest.mark.parametrize("rule", RULES)
def test_a_zero_gradient_is_refused(tiny, rule):
    shared = tiny().shared
    with pytest.raises(ValueError, match=r"zero everywhere"):
        rule(replace(shared, gradient={name: 0 * g for name, g in shared.gradient.items()}))


@pytest.mark.parametrize(
    "delta", [[0.2, -0.1, -0.1, 0.0], [0.1, 0.2, 0.3, 0.4]], ids=["two", "none"]
)
def test_anything_but_one_negative_entry_is_refused(tiny, delta):
    shared = tiny().shared
    changed = {**shared.gradient, "fc.bias": torch.tensor(delta).double()}
    with pytest.raises(
        ValueError, match=r"fc\.bias has \d negative entries where one hard label gives exactly one"
    ):
        labels.by_sign(replace(shared, gradient=changed))


@pytest.mark.parametrize("rule", RULES)
def test_a_layer_that_is_not_the_classifier_is_noticed(rule, seeded):
    """Its bias gradient has one negative entry here, too."""
    model = models.init_default(ClassifierFirst(), seeded(0))
    shared = share(model, Batch(torch.rand(1, *SHAPE, generator=seeded(1)), torch.tensor([1])))
    assert (shared.gradient["body.bias"] < 0).sum() == 1
    with pytest.raises(
        ValueError,
        match=r"body\.\w+ does not sum to zero as softmax − onehot does.*model's last layer",
    ):
        rule(shared)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(3))
def test_single_precision_sums_to_zero_well_enough(rule, seed, tiny):
    _, batch, shared, *_ = tiny(seed, dtype=torch.float32)
    assert rule(shared).equal(batch.y)


@pytest.mark.parametrize("rule", RULES)
def test_noise_that_leaves_the_signs_alone_is_noticed(rule, tiny):
    shared = tiny().shared
    noisy = {
        name: 1.01 * g.where(g < 0, 0) + g.where(g >= 0, 0) for name, g in shared.gradient.items()
    }
    with pytest.raises(
        ValueError, match=r"does not sum to zero .*: noise, or not the classifier; .*attacks\.dlg"
    ):
        rule(replace(shared, gradient=noisy))


def test_a_classifier_without_bias_is_sent_to_the_row_sums(seeded):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Sigmoid(), nn.Linear(8, 5, bias=False))
    batch = Batch(torch.rand(1, *SHAPE, generator=seeded(0)), torch.tensor([3]))
    shared = share(models.init_default(model, seeded(0)), batch)
    with pytest.raises(
        ValueError, match=r"3\.weight, is \(5, 8\) and no bias; use labels\.by_row_sum"
    ):
        labels.by_sign(shared)
    assert labels.by_row_sum(shared).tolist() == [3]


def test_without_a_linear_layer_there_is_no_row_to_sum(seeded):
    model = nn.Sequential(nn.Conv2d(1, 5, 4), nn.Flatten())
    shared = share(model, Batch(torch.rand(1, *SHAPE, generator=seeded(0)), torch.tensor([3])))
    with pytest.raises(ValueError, match=r"no linear classifier among \['0\.weight', '0\.bias'\]"):
        labels.by_row_sum(shared)
    assert labels.by_sign(shared).tolist() == [3]


def test_a_saturated_network_still_tells_the_label():
    """With a probability of 1 − 4e-7, float32 rounds δ by as much as a tenth of itself: no sign of noise."""
    z = torch.tensor([[0.0, 15.0, -1.0, 0.3]])
    b = torch.zeros(4, requires_grad=True)
    (delta,) = torch.autograd.grad(torch.nn.functional.cross_entropy(z + b, torch.tensor([1])), b)
    shared = Shared({"fc.bias": b.detach()}, {"fc.bias": delta}, (1, 1, 8, 8))
    assert delta.sum().abs() > 1e-3 * delta.abs().sum()
    assert labels.by_sign(shared).tolist() == [1]
