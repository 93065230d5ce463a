"""The engine attacks: photographs and labels come back, and dropout stops the naive attacker."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from dlgutils import attacks, data, invert, metrics, models, share
from dlgutils.federated import honest
from dlgutils.types import Guess

NAMES = data.class_names("photos")


def rounds_of(names, seeded, **net):
    """A LeNet, one round for each photograph, and the truth, (runs, 1, 3, 32, 32)."""
    model, shared = models.lenet(**net), []
    for seed, name in enumerate(names):
        shared.append(honest(model, data.photos(name), seeded(seed)).shared)
    return model, shared, data.photos(*names).x[:, None]


def test_invert_idlg_recovers_the_photographs_within_100_evaluations(seeded):
    """What the library is for; measured: 12 of 12."""
    model, rounds, truth = rounds_of(NAMES, seeded)
    result = invert(model, rounds, attacks.idlg, steps=100)
    assert result.y[:, 0].tolist() == list(range(12))
    assert (metrics.mse(result.x, truth) < 1e-2).sum() >= 11
    assert metrics.ssim(result.x, truth).median() > 0.8


def test_invert_dlg_recovers_photograph_and_label(seeded):
    model, rounds, truth = rounds_of(NAMES[:3], seeded)
    result = invert(model, rounds, attacks.dlg, steps=200)
    assert result.y[:, 0].tolist() == [0, 1, 2]
    assert metrics.mse(result.x, truth).median() < 1e-2


@pytest.mark.slow
def test_invert_smooth_relu_recovers_photographs_from_relu(seeded):
    """Slow: three attacks on ReLUs. Measured: smoothed 4 of 4, as it is none or one of 4."""
    model, rounds, truth = rounds_of(NAMES[:4], seeded, activation=nn.ReLU)
    plain, rounded = (
        invert(m, rounds, attacks.idlg, steps=100) for m in (model, models.smooth_relu(model))
    )
    assert metrics.mse(rounded.x, truth).median() < 0.5 * metrics.mse(plain.x, truth).median()
    sharper = invert(models.smooth_relu(model, 64), rounds, attacks.idlg, start=rounded.x, steps=60)
    assert metrics.mse(sharper.x, truth).median() < metrics.mse(rounded.x, truth).median() < 1e-2


@pytest.mark.slow
def test_invert_dlg_recovers_two_photographs_of_one_batch_in_some_order(seeded):
    """Slow: 300 evaluations of a batch. Measured: both MSE below 8e-3 for seeds 0 to 2."""
    gen, pair = seeded(0), data.photos("cat", "coffee")
    model = models.init_default(models.lenet(), gen)
    result = invert(model, share(model, pair), attacks.dlg, gen, steps=300)
    assert sorted(result.y[0].tolist()) == [1, 2]
    scores = torch.stack([metrics.mse(result.x, pair.x), metrics.mse(result.x, pair.x.flip(0))])
    assert scores.amax((1, 2)).min() < 2e-2


def test_invert_equal_guesses_of_a_batch_would_stay_equal(tiny, seeded):
    model, _, shared, *_ = tiny(batch=2)
    grey = Guess(torch.full((2, 1, 8, 8), 0.5).double(), torch.zeros(2, 4).double())
    together = invert(model, shared, replace(attacks.dlg, start=lambda *_: grey), steps=20).x[0]
    apart = invert(model, shared, attacks.dlg, seeded(0), steps=100).x[0]
    assert together[0].allclose(together[1], rtol=0, atol=1e-6)
    assert (apart[0] - apart[1]).abs().max() > 0.1


@pytest.mark.parametrize(
    "attack", [attacks.idlg, attacks.idlg_fresh_masks], ids=["eval mode", "fresh masks"]
)
def test_invert_dropout_stops_an_attacker_who_does_not_know_the_mask(attack, seeded):
    names = ("cat", "coffee", "rocket", "flower")
    model, rounds, truth = rounds_of(names, seeded, dropout=0.5)
    result = invert(model, rounds, attack, seeded(0), steps=60)
    mean_image = metrics.mean_image(truth[:, 0], data.photos().x)[:, None]
    ratio = metrics.rmse(result.x, truth) / mean_image
    assert ratio.median() > 1
    assert (ratio > 0.8).all()


def test_invert_fresh_masks_are_not_a_straw_man(seeded):
    """Without dropout an attacker with fresh masks finds the image too; measured: MSE 4e-3."""
    model, rounds, truth = rounds_of(["cat"], seeded)
    result = invert(model, rounds, attacks.idlg_fresh_masks, seeded(0), steps=100)
    assert metrics.mse(result.x, truth) < 1e-2
