"""Starts: what they draw, what they need, and what they look like."""

from dataclasses import replace

import pytest
import torch

from dlgutils import Shared
from dlgutils.matching import starts


@pytest.mark.parametrize(
    "start", [starts.uniform, starts.noise, starts.pink], ids=lambda s: s.__name__
)
def test_start_of_noise_needs_a_generator_and_follows_it(start, tiny, seeded):
    model, _, shared, *_ = tiny()
    one, again, other = (start(model, shared, seeded(seed)).x for seed in (0, 0, 1))
    assert one.equal(again)
    assert not one.equal(other)
    assert (one.shape, one.dtype) == (shared.x_shape, torch.float64)
    with pytest.raises(ValueError, match=r"drawn from a generator; pass torch\.Generator\(\)"):
        start(model, shared, None)


def test_pink_is_smoother_than_noise_and_lies_about_grey(seeded):
    shared = replace(_large(), x_shape=(1, 3, 32, 32))
    for start, smooth in ((starts.pink, True), (starts.noise, False)):
        x = start(None, shared, seeded(0)).x
        steps = (x[..., 1:] - x[..., :-1]).std() / x.std()
        assert (steps < 1) == smooth
    assert 0.1 < starts.pink(None, shared, seeded(0)).x.std() < 0.3


def _large():
    """A round of which only the classes are known."""
    return Shared({}, {"fc.bias": torch.zeros(12)}, ())


def test_with_logits_gives_every_class_the_same_chance(tiny, seeded):
    model, _, shared, *_ = tiny()
    guess = starts.with_logits(starts.pink)(model, shared, seeded(0))
    assert (guess.y == 0).all()
    assert guess.y.shape == (1, 4)
    assert guess.x.equal(starts.pink(model, shared, seeded(0)).x)
