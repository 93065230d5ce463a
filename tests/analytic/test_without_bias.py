"""A classifier without a bias: the label whatever the features' signs, and no false certainty."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dlgutils import Batch, Protocol, audit, models, share
from dlgutils.analytic import features, labels, masks
from dlgutils.federated import honest
from dlgutils.federated.defenses import clip

SHAPE = (1, 6, 6)


def round_of(seed, classes, *layers, width=12, size=3.0):
    """A network without a last bias, its secret, and its round; weights times `size`."""
    gen = torch.Generator().manual_seed(seed)
    body = [nn.Flatten(), nn.Linear(36, width), *layers]
    model = nn.Sequential(*body, nn.Linear(width, classes, bias=False)).double()
    model = models.init_default(model, gen)
    with torch.no_grad():
        model[-1].weight *= size
    secret = Batch(
        torch.rand(1, *SHAPE, generator=gen, dtype=torch.float64),
        torch.randint(classes, (1,), generator=gen),
    )
    return honest(model, secret, gen, init=None)[:3]


@given(
    seed=st.integers(0, 2**31),
    classes=st.integers(3, 9),
    layer=st.sampled_from([nn.Tanh(), nn.Sigmoid(), nn.LogSigmoid(), nn.LayerNorm(12).double()]),
    scale=st.sampled_from([1.0, 0.5, -2.0, None]),
)
def test_the_label_is_read_whatever_the_signs_of_the_features(seed, classes, layer, scale):
    """After LayerNorm they sum to zero, so that sums of rows are rounding."""
    _, secret, shared = round_of(seed, classes, layer)
    factor = -0.3 if scale is None else scale
    gradient = {name: factor * g for name, g in shared.gradient.items()}
    came = replace(shared, gradient=gradient, protocol=Protocol(scale=scale))
    assert labels.read(came).equal(secret.y)


@given(seed=st.integers(0, 2**31), classes=st.integers(3, 9))
def test_the_most_likely_label_is_not_that_of_rounding(seed, classes):
    _, secret, shared = round_of(seed, classes, nn.LayerNorm(12).double())
    assert labels.most_likely(shared).equal(secret.y)


@given(seed=st.integers(0, 2**31), layer=st.sampled_from([nn.Tanh(), nn.LayerNorm(12).double()]))
def test_of_two_classes_features_of_either_sign_say_no_label(seed, layer):
    model, _, shared = round_of(seed, 2, layer)
    if shared.gradient["3.weight"][0].sign().unique().numel() == 1:
        return
    for read in (labels.read, lambda shared: features.read(model, shared)):
        with pytest.raises(ValueError, match=r"entries of either sign.*attacks\.dlg"):
            read(shared)


@given(seed=st.integers(0, 2**31), classes=st.integers(2, 3), size=st.sampled_from([1.0, 3.0, 9.0]))
def test_what_is_read_is_right(seed, classes, size):
    """Where the network is right about one of two classes, two lengths of δ fit."""
    model, secret, shared = round_of(seed, classes, nn.Sigmoid(), size=size)
    right = model(secret.x).argmax(1).equal(secret.y)
    if classes == 2 and right:
        with pytest.raises(ValueError, match="more than one length fits"):
            features.read(model, shared)
        return
    try:
        layer = features.read(model, shared).layers[0]
    except ValueError:
        assert classes > 2
        return
    truth = model[:-1](secret.x)
    assert (layer.inputs - truth).norm() <= 3 * layer.error * truth.norm()


def test_two_classes_of_an_unknown_scale_are_refused():
    for seed in range(20):
        model, _, shared = round_of(seed, 2, nn.Sigmoid())
        clipped = share(model, round_of(seed, 2, nn.Sigmoid())[1], defenses=[clip(1e-3)])
        unknown = replace(shared, protocol=Protocol(scale=None))
        for came in (unknown, clipped):
            with pytest.raises(ValueError, match="more than one length fits"):
                masks.read(model, came)


def test_an_audit_does_not_take_a_guess_for_certain(seeded):
    """Its label was certain, and wrong; and so the search found no picture."""
    gen = seeded(3)
    layers = [nn.Flatten(), nn.Linear(36, 12), nn.LayerNorm(12), nn.Linear(12, 2, bias=False)]
    model = models.init_default(nn.Sequential(*layers), gen)
    for y in range(2):
        secret = Batch(torch.rand(1, *SHAPE, generator=gen), torch.tensor([y]))
        report = audit(model, secret, budget=5)
        for finding in report.findings:
            right = finding.labels is None or finding.labels.successes == 1
            assert right or not finding.certificate
        assert report.findings[report.best].verdict == "leak"


def test_an_audit_says_that_it_took_features_for_positive():
    model, secret, _ = round_of(0, 2, nn.Sigmoid())
    report = audit(model, secret, budget=2)
    (found,) = (each for each in report.findings if each.probe == "labels")
    assert "if what entered that layer is positive" in found.told
    assert not found.certificate
