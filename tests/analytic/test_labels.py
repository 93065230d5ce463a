"""The sign rule: right wherever it answers, and an error everywhere else."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dlgutils import Batch, Protocol, Shared, models, share
from dlgutils.analytic import labels
from dlgutils.federated import honest
from dlgutils.federated.defenses import clip, defend
from tests.helpers.rounds import with_noise

RULES = [labels.by_sign, labels.by_row_sum]
SHAPE = (1, 4, 4)


class ClassifierFirst(nn.Module):
    """A model that registers its classifier before its body."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 5)
        self.body = nn.Linear(16, 3)

    def forward(self, x):
        """Logits."""
        hidden = self.body(x.flatten(1))
        return self.fc(hidden.sigmoid())


def shared_by(seed, y, activation=nn.Sigmoid, *, classes=5, bound=None, bias=0.0):
    """One round of a random MLP on a random image of class y; `bias` shifts the hidden layer."""
    gen = torch.Generator().manual_seed(seed)
    model = models.mlp(SHAPE, (8,), classes, activation=activation)
    model = model.double()
    if bound is None:
        model = models.init_default(model, gen)
    else:
        model = models.init_uniform(model, gen, bound)
    with torch.no_grad():
        model.body[0].bias += bias
    x = torch.rand(1, *SHAPE, generator=gen).double()
    secret = Batch(x, torch.tensor([y]))
    return honest(model, secret, gen, init=None).shared


def with_gradient(shared, change):
    """The same round with every tensor of its gradient changed."""
    changed = {name: change(g) for name, g in shared.gradient.items()}
    return replace(shared, gradient=changed)


@given(
    seed=st.integers(0, 2**31),
    y=st.integers(0, 4),
    activation=st.sampled_from([nn.Sigmoid, nn.ReLU, nn.Tanh]),
    bound=st.sampled_from([None, 0.5, 1.5]),
)
def test_by_sign_is_the_label(seed, y, activation, bound):
    found = labels.by_sign(shared_by(seed, y, activation, bound=bound))
    assert found.tolist() == [y]
    assert found.dtype == torch.int64


@given(seed=st.integers(0, 2**31), y=st.integers(0, 4), bound=st.sampled_from([None, 0.5, 1.5]))
def test_by_row_sum_is_the_label_with_sigmoid(seed, y, bound):
    shared = shared_by(seed, y, bound=bound)
    assert labels.by_row_sum(shared).tolist() == [y]


@given(seed=st.integers(0, 2**31), y=st.integers(0, 4))
def test_by_row_sum_refuses_features_of_a_negative_sum(seed, y):
    shared = shared_by(seed, y, nn.Tanh, bias=-3.0)
    assert labels.by_sign(shared).tolist() == [y]
    with pytest.raises(
        ValueError, match=r"row sums of fc\.weight has 4 negative entries.*attacks\.dlg"
    ):
        labels.by_row_sum(shared)


@pytest.mark.parametrize("y", [0, 1])
def test_by_row_sum_is_wrong_with_two_classes_and_negative_features(y):
    shared = shared_by(0, y, nn.Tanh, classes=2, bias=-3.0)
    assert labels.by_row_sum(shared).tolist() == [1 - y]


@pytest.mark.parametrize("seed", range(5))
def test_rules_find_the_label_through_dropout(tiny, seed):
    _, secret, shared, _ = tiny(seed, dropout=0.5)
    assert labels.by_sign(shared).equal(secret.y)
    assert labels.by_row_sum(shared).equal(secret.y)


@pytest.mark.parametrize("rule", RULES)
def test_rules_refuse_a_batch(tiny, rule):
    with pytest.raises(ValueError, match=r"needs one image, got a batch of 3, .*attacks\.dlg"):
        rule(tiny(batch=3).shared)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_rules_refuse_a_gradient_that_is_not_finite(tiny, rule, bad):
    spoilt = with_gradient(tiny().shared, lambda g: torch.full_like(g, bad))
    with pytest.raises(ValueError, match=r"NaN or inf among its \d+ numbers"):
        rule(spoilt)


@pytest.mark.parametrize("rule", RULES)
def test_rules_refuse_a_gradient_of_zeros(tiny, rule):
    zero = with_gradient(tiny().shared, lambda g: 0 * g)
    with pytest.raises(ValueError, match=r"zero everywhere"):
        rule(zero)


@pytest.mark.parametrize(
    "delta", [[0.2, -0.1, -0.1, 0.0], [0.1, 0.2, 0.3, 0.4]], ids=["two", "none"]
)
def test_by_sign_refuses_anything_but_one_negative_entry(tiny, delta):
    shared = tiny().shared
    changed = {**shared.gradient, "fc.bias": torch.tensor(delta).double()}
    with pytest.raises(
        ValueError, match=r"fc\.bias has \d negative entries where one hard label gives exactly one"
    ):
        labels.by_sign(replace(shared, gradient=changed))


@pytest.mark.parametrize("rule", RULES)
def test_rules_refuse_a_layer_that_is_not_the_classifier(rule, seeded):
    """Its bias gradient has one negative entry here, too."""
    model = models.init_default(ClassifierFirst(), seeded(0))
    x = torch.rand(1, *SHAPE, generator=seeded(1))
    shared = share(model, Batch(x, torch.tensor([1])))
    assert rule(shared).tolist() == [1]
    assert (shared.gradient["body.bias"] < 0).sum() == 1
    as_defined = replace(shared, weights=models.weights(model))
    with pytest.raises(
        ValueError,
        match=r"body\.\w+ does not sum to zero as softmax − onehot does.*last layer in shared",
    ):
        rule(as_defined)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(3))
def test_rules_find_the_label_in_single_precision(rule, seed, tiny):
    _, secret, shared, _ = tiny(seed, dtype=torch.float32)
    assert rule(shared).equal(secret.y)


@pytest.mark.parametrize("rule", RULES)
def test_rules_refuse_noise_that_leaves_the_signs_alone(rule, tiny):
    def stretch(g):
        negative = g.where(g < 0, 0)
        positive = g.where(g >= 0, 0)
        return 1.01 * negative + positive

    noisy = with_gradient(tiny().shared, stretch)
    with pytest.raises(
        ValueError, match=r"does not sum to zero .*: noise, or not the classifier; .*attacks\.dlg"
    ):
        rule(noisy)


def test_by_sign_without_bias_names_the_row_sums(seeded):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Sigmoid(), nn.Linear(8, 5, bias=False))
    model = models.init_default(model, seeded(0))
    x = torch.rand(1, *SHAPE, generator=seeded(0))
    shared = share(model, Batch(x, torch.tensor([3])))
    with pytest.raises(
        ValueError,
        match=r"3\.weight, of shape \(5, 8\), is not a bias; use labels\.by_row_sum",
    ):
        labels.by_sign(shared)
    assert labels.by_row_sum(shared).tolist() == [3]


def test_by_row_sum_needs_a_linear_layer(seeded):
    model = nn.Sequential(nn.Conv2d(1, 5, 4), nn.Flatten())
    x = torch.rand(1, *SHAPE, generator=seeded(0))
    shared = share(model, Batch(x, torch.tensor([3])))
    with pytest.raises(ValueError, match=r"no linear classifier among \['0\.weight', '0\.bias'\]"):
        labels.by_row_sum(shared)
    assert labels.by_sign(shared).tolist() == [3]


@given(st.integers(0, 2**31), st.sampled_from([2, 3, 5]), st.sampled_from([nn.Sigmoid, nn.ReLU]))
def test_most_likely_is_the_label_without_and_with_noise(seed, classes, activation):
    y = seed % classes
    shared = shared_by(seed, y, activation, classes=classes)
    assert labels.most_likely(shared).equal(torch.tensor([y]))
    assert labels.most_likely(with_noise(shared, 1e-4, seed=seed)).equal(torch.tensor([y]))


def test_by_sign_finds_the_label_of_a_saturated_network():
    """At a probability of 1 − 4e-7, float32 rounds δ by a tenth of itself: that is not noise."""
    z = torch.tensor([[0.0, 15.0, -1.0, 0.3]])
    b = torch.zeros(4, requires_grad=True)
    loss = nn.functional.cross_entropy(z + b, torch.tensor([1]))
    (delta,) = torch.autograd.grad(loss, b)
    weights = {"fc.bias": b.detach()}
    shared = Shared(weights, {"fc.bias": delta}, (1, 1, 8, 8))
    assert delta.sum().abs() > 1e-3 * delta.abs().sum()
    assert labels.by_sign(shared).tolist() == [1]


@given(
    scale=st.floats(1e-3, 1e3),
    sign=st.sampled_from([1, -1]),
    known=st.booleans(),
    classes=st.integers(3, 8),
)
@pytest.mark.parametrize("rule", RULES)
def test_a_scale_of_either_sign_changes_no_label(rule, scale, sign, known, classes):
    honest = shared_by(3, 2, classes=classes)
    protocol = Protocol(scale=sign * scale if known else None)
    sent = with_gradient(replace(honest, protocol=protocol), lambda g: sign * scale * g)
    assert rule(sent).tolist() == [2]


@pytest.mark.parametrize("rule", RULES)
def test_of_two_classes_an_unknown_scale_counts_as_positive(rule):
    unknown = replace(shared_by(3, 1, classes=2), protocol=Protocol(scale=None))
    assert rule(unknown).tolist() == [1]


def test_a_sign_that_is_not_announced_is_an_error():
    with pytest.raises(ValueError, match=r"4 negative entries"):
        labels.read(with_gradient(shared_by(3, 2), torch.neg))


@pytest.mark.parametrize("rule", RULES)
def test_decay_that_is_announced_is_taken_out(rule):
    honest = shared_by(3, 2)
    decayed = {name: g + 5.0 * honest.weights[name] for name, g in honest.gradient.items()}
    sent = replace(honest, gradient=decayed, protocol=Protocol(weight_decay=5.0))
    assert rule(sent).tolist() == [2]


def test_a_known_scale_counts_behind_a_defence_too(seeded):
    """What is clipped keeps its signs, of two classes too, where nothing else tells them."""
    honest = with_gradient(shared_by(3, 1, classes=2), torch.neg)
    sent = replace(honest, protocol=Protocol(scale=-1.0))
    assert labels.read(defend(sent, [clip(1e-3)], seeded(0))).tolist() == [1]
