"""The mean of rounds of the same images: noise shrinks, and the protocol knows."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlgutils import metrics, models, share
from dlgutils.analytic import closed_form
from dlgutils.federated import average, defenses
from dlgutils.testing import tiny_round

MODEL, SECRET, SHARED, _ = tiny_round(dropout=0.0)


def rounds(row, n):
    generator = torch.Generator().manual_seed(0)
    return [defenses.defend(SHARED, row, generator) for _ in range(n)]


@given(n=st.integers(1, 30))
def test_average_has_noise_as_small_as_it_says(n):
    found = average(rounds([defenses.noise(0.1)], n))
    assert found.protocol.sigma == pytest.approx(0.1 / n**0.5)
    added = [(g - SHARED.gradient[name]).flatten() for name, g in found.gradient.items()]
    assert torch.cat(added).std() == pytest.approx(found.protocol.sigma, rel=0.1)


def test_average_keeps_the_clip_and_takes_laplacian_noise_for_gaussian():
    row = [defenses.clip(0.05), defenses.noise(3e-3), defenses.laplace(4e-3 / 2**0.5)]
    found = average(rounds(row, 100))
    clip, noise = found.protocol.defenses
    assert clip == defenses.clip(0.05)
    assert noise.sigma == pytest.approx(5e-4)


def test_average_lets_the_closed_form_recover_what_one_round_hides():
    errors = []
    for n in (1, 400):
        seen = average(rounds([defenses.noise(1e-3)], n))
        errors.append(float(metrics.mse(closed_form.recover(MODEL, seen).x, SECRET.x)))
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize("rounds", [SHARED, [1, 2], [SHARED.gradient], None, 3], ids=type)
def test_average_refuses_what_is_no_list_of_rounds(rounds):
    with pytest.raises(ValueError, match="average takes a list of rounds, each a Shared, got a"):
        average(rounds)


def test_average_refuses_rounds_that_differ():
    one, two = rounds([defenses.noise(0.1)], 2)
    with pytest.raises(ValueError, match="no rounds came"):
        average([])
    other_weights = replace(two, weights={n: 2 * w for n, w in two.weights.items()})
    for other in (other_weights, replace(two, x_shape=(2, 1, 8, 8)), rounds([], 1)[0]):
        with pytest.raises(ValueError, match="differ in weights, tensors, shapes or protocols"):
            average([one, other])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([], "noise is the last of their defences"),
        ([defenses.noise(0.1), defenses.sign()], "noise is the last of their defences"),
        ([defenses.prune_random(0.5), defenses.noise(0.1)], "may change every round in another"),
    ],
)
def test_average_refuses_what_a_mean_does_not_undo(row, reason):
    with pytest.raises(ValueError, match=reason):
        average(rounds(row, 2))


def test_average_of_shared_rounds_of_one_batch():
    generator = torch.Generator().manual_seed(1)
    model = models.init_default(MODEL, generator)
    row = [defenses.noise(1e-3)]
    found = average([share(model, SECRET, generator, defenses=row) for _ in range(4)])
    assert found.protocol.sigma == pytest.approx(5e-4)


def test_average_refuses_the_same_noise_twice():
    """As somebody gets who draws every round from a new generator of the same seed."""
    one, two = rounds([defenses.noise(0.1)], 2)
    again, _ = rounds([defenses.noise(0.1)], 2)
    with pytest.raises(ValueError, match="the same noise to the last bit"):
        average([one, two, again])
