"""Uploads in fewer digits than the weights: rounded numbers, whose rounding is known."""

from dataclasses import replace

import pytest
import torch

from dlgutils import attacks, invert
from dlgutils.analytic import closed_form, labels, masks
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
