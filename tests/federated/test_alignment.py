"""Uploads in fewer digits than the weights: rounded numbers, whose rounding is known."""

from dataclasses import replace

import pytest
import torch

from dlgutils import Protocol, attacks, invert, share
from dlgutils.analytic import closed_form, labels, masks
from dlgutils.federated import from_weights
from dlgutils.federated.alignment import align


def rounded(shared, dtype):
    """The round with its gradient rounded to this dtype."""
    return replace(shared, gradient={name: g.to(dtype) for name, g in shared.gradient.items()})


HALVES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


@HALVES
@pytest.mark.parametrize("seed", range(4))
def test_a_rounded_upload_is_read_and_matched(tiny, dtype, seed):
    model, secret, shared, *_ = tiny(seed, dtype=torch.float32)
    upload = rounded(shared, dtype)
    assert labels.read(upload).equal(secret.y)
    result = invert(model, upload, attacks.idlg, start=secret.x[None], steps=1)
    assert result.y[0].equal(secret.y)
    assert result.loss[0, 0] < torch.finfo(dtype).eps ** 2


@HALVES
def test_the_mask_is_read_off_a_rounded_upload(tiny, dtype):
    model, secret, shared, drawn = tiny(dropout=0.5, dtype=torch.float32)
    found = masks.read(model, rounded(shared, dtype))
    assert found.y.equal(secret.y)
    assert found.masks["dropout.mask"].equal(drawn["dropout.mask"])


def test_the_closed_form_does_not_believe_in_digits_that_are_not_there(tiny):
    model, secret, shared, *_ = tiny(dtype=torch.float32)
    found = closed_form.recover(model, rounded(shared, torch.float16))
    assert found.residual > 1e-6
    assert (found.x - secret.x).square().mean() < 0.2


def test_align_keeps_what_was_lost_in_mind(tiny):
    model, _, shared, *_ = tiny()
    _, (found,) = align(model, rounded(shared, torch.float32))
    assert (found.like.dtype, found.precision) == (torch.float64, torch.float32)
    assert shared.precision == torch.float64


def test_align_leaves_a_round_that_fits_as_it_is(tiny):
    model, _, shared, *_ = tiny()
    _, (found,) = align(model, shared)
    assert found is shared


@HALVES
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_rounded_update_of_several_steps_is_matched(tiny, dtype, steps):
    model, secret, *_ = tiny(dtype=torch.float32)
    shared = share(model, secret, protocol=Protocol(steps=steps, lr=0.01))
    upload = rounded(shared, dtype)
    assert labels.read(upload).equal(secret.y)
    result = invert(model, upload, attacks.idlg, start=secret.x[None], steps=1)
    assert result.loss[0, 0] < torch.finfo(dtype).eps ** 2


@HALVES
def test_weights_in_half_precision_are_worth_a_warning(tiny, dtype):
    """The update is a small difference of weights, so that their rounding is much of it."""
    model, secret, *_ = tiny(dtype=torch.float32)
    protocol = Protocol(steps=5, lr=0.1)
    shared = share(model, secret, protocol=protocol)
    after = {
        name: (w - 0.5 * shared.gradient[name]).to(dtype) for name, w in shared.weights.items()
    }
    with pytest.warns(UserWarning, match=r"rounding is about \de-\d\d of the update"):
        found = from_weights(shared.weights, after, shared.x_shape, protocol)
    assert (found.precision, found.like.dtype) == (dtype, torch.float32)
    assert labels.read(found).equal(secret.y)
