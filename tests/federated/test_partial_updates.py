"""A client may share the gradients of some tensors only: what needs another one says so."""

from dataclasses import replace

import pytest
import torch

from dlgutils import attacks, invert
from dlgutils.analytic import closed_form, labels, masks, separation
from dlgutils.matching import objectives


def part(shared, *names):
    """The round with the gradients of these tensors only."""
    return replace(shared, gradient={name: shared.gradient[name] for name in names})


def missing(name):
    """What an error says about a gradient that was not shared."""
    return rf"gradient of {name} was not shared: this partial update has .*; ask the client"


def test_classifier_of_a_partial_update_is_that_of_the_model(tiny):
    _, _, shared, *_ = tiny()
    head = part(shared, "fc.weight", "fc.bias")
    assert head.classifier == shared.classifier
    assert part(shared, "body.0.weight").classes == shared.classes
    with pytest.raises(ValueError, match=missing(r"fc\.weight, fc\.bias")):
        _ = part(shared, "body.0.weight").classifier


def test_label_needs_the_gradient_of_the_classifier(tiny):
    _, secret, shared, *_ = tiny()
    assert labels.read(part(shared, "fc.bias")).equal(secret.y)
    assert labels.read(part(shared, "fc.weight")).equal(secret.y)
    with pytest.raises(ValueError, match=missing(r"fc\.bias")):
        labels.by_sign(part(shared, "fc.weight"))
    with pytest.raises(ValueError, match=missing(r"fc\.weight")):
        labels.read(part(shared, "body.0.weight", "body.0.bias"))


@pytest.mark.parametrize("noise", [0.0, 1e-12])
def test_masks_are_read_off_the_head_alone(tiny, noise):
    model, _, shared, drawn = tiny(dropout=0.5)
    found = masks.read(model, part(shared, "fc.weight", "fc.bias"), noise=noise).masks
    assert found["dropout.mask"].equal(drawn["dropout.mask"])
    with pytest.raises(ValueError, match=missing(r"fc\.weight")):
        masks.read(model, part(shared, "body.0.weight", "fc.bias"), noise=noise)


def test_separation_needs_the_head_alone(tiny):
    model, _, shared, *_ = tiny(batch=2, dropout=0.5)
    head = part(shared, "fc.weight", "fc.bias")
    whole, found = (separation.separate(model, one) for one in (shared, head))
    assert found.n_found == whole.n_found
    assert found.reason == whole.reason
    with pytest.raises(ValueError, match=missing(r"fc\.bias")):
        separation.separate(model, part(shared, "fc.weight"))


def test_closed_form_needs_all_of_the_gradient(tiny):
    model, _, shared, *_ = tiny()
    with pytest.raises(ValueError, match=missing(r"body\.0\.weight, .*body\.4\.bias")):
        closed_form.recover(model, part(shared, "fc.weight", "fc.bias"))


@pytest.mark.parametrize(
    "distance", [objectives.relative_squared_error, objectives.cosine_distance]
)
def test_invert_matches_the_part_that_was_shared(tiny, distance):
    model, secret, shared, *_ = tiny()
    head = part(shared, "fc.weight", "fc.bias")
    attack = replace(attacks.idlg, distance=distance)
    truth = invert(model, head, attack, start=secret.x[None], steps=1).loss
    grey = invert(model, head, attack, steps=1).loss
    assert truth[0, 0] < 1e-20 < grey[0, 0]


def test_invert_traced_matches_the_part_that_was_shared(tiny):
    """A long attack replays a graph."""
    model, _, shared, *_ = tiny()
    head = part(shared, "fc.weight", "fc.bias")
    long = invert(model, head, attacks.idlg, steps=400)
    short = invert(model, head, attacks.idlg, steps=5)
    torch.testing.assert_close(long.loss[:, :5], short.loss)
