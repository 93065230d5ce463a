"""Scores: known answers, one number per image, whatever axes come first."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlgutils import data, metrics

CAT = data.photos("cat").x
SCORES = [metrics.mse, metrics.rmse, metrics.psnr, metrics.ssim]


@pytest.mark.parametrize(
    ("score", "value"),
    [(metrics.mse, 1e-2), (metrics.rmse, 1e-1), (metrics.psnr, 20.0)],
    ids=["mse", "rmse", "psnr"],
)
def test_an_error_of_a_tenth_everywhere(score, value):
    assert score(CAT.double() + 0.1, CAT.double()).item() == pytest.approx(value)


def test_a_perfect_reconstruction():
    assert metrics.mse(CAT, CAT) == 0
    assert metrics.psnr(CAT, CAT) == torch.inf
    assert metrics.ssim(CAT, CAT).item() == pytest.approx(1, abs=1e-6)


def test_ssim_falls_with_noise_and_ignores_what_the_screen_clips(seeded):
    noise = torch.randn(CAT.shape, generator=seeded(0))
    near, far = (metrics.ssim(CAT + scale * noise, CAT).item() for scale in (0.02, 0.3))
    assert far < 0.7 < near < 1
    beyond_white = CAT.where(CAT.max() > CAT, 3)
    assert metrics.ssim(beyond_white, CAT).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("score", SCORES, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("x", "truth"),
    [
        ((3, 16, 16), (3, 16, 16)),
        ((5, 3, 16, 16), (5, 3, 16, 16)),
        ((5, 3, 16, 16), (3, 16, 16)),
        ((4, 5, 3, 16, 16), (5, 3, 16, 16)),
        ((4, 5, 3, 16, 16), (4, 5, 3, 16, 16)),
        ((2, 4, 5, 1, 16, 16), (4, 1, 1, 16, 16)),
    ],
    ids=str,
)
def test_one_number_per_image(score, x, truth, seeded):
    gen = seeded(0)
    assert score(torch.rand(x, generator=gen), torch.rand(truth, generator=gen)).shape == x[:-3]


@pytest.mark.parametrize("score", SCORES, ids=lambda f: f.__name__)
def test_every_run_is_scored_against_its_own_truth(score, seeded):
    truth = torch.rand(2, 3, 1, 16, 16, generator=seeded(0), dtype=torch.float64)
    x = truth + 0.1 * torch.rand(truth.shape, generator=seeded(1), dtype=torch.float64)
    together, alone = score(x, truth), torch.stack([score(x[0], truth[0]), score(x[1], truth[1])])
    assert together.allclose(alone, rtol=1e-9)


@pytest.mark.parametrize("score", SCORES, ids=lambda f: f.__name__)
def test_images_of_different_shapes_cannot_be_scored(score):
    with pytest.raises(
        ValueError, match=r"\(3, 32, 32\) cannot be scored against \(3, 64, 64\); give both as"
    ):
        score(CAT, data.photos("cat", size=64).x)


@pytest.mark.parametrize("score", SCORES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("x", [(4, 1, 3, 16, 16), (3, 16, 16), (5, 4, 1, 3, 16, 16)], ids=str)
def test_four_runs_of_one_image_are_not_four_images_of_one_run(score, x):
    fits = r"a truth of shape \(4, 3, 16, 16\) does not fit results of shape \(.*truth\.x\[:, None\], truth\.y\[:, None\]"
    with pytest.raises(ValueError, match=fits):
        score(torch.zeros(x), torch.zeros(4, 3, 16, 16))


def test_grey_is_not_broadcast_over_colour():
    with pytest.raises(ValueError, match=r"\(3, 32, 32\) cannot be scored against \(1, 32, 32\)"):
        metrics.mse(CAT, CAT[:, :1])


def test_label_accuracy_of_each_run():
    found = torch.tensor([[0, 1, 2, 3], [0, 0, 0, 0]])
    assert metrics.label_accuracy(found, torch.tensor([0, 1, 2, 0])).tolist() == [0.75, 0.5]
    assert metrics.label_accuracy(found, found).tolist() == [1, 1]


def test_the_label_of_each_run_is_not_compared_with_those_of_the_others():
    found, truth = torch.tensor([[0], [1], [2]]), torch.tensor([0, 1, 5])
    assert metrics.label_accuracy(found, truth[:, None]).tolist() == [1, 1, 0]
    with pytest.raises(
        ValueError, match=r"a truth of shape \(3,\) does not fit results of shape \(3, 1\)"
    ):
        metrics.label_accuracy(found, truth)


def test_the_mean_image_of_one_image_is_itself():
    assert metrics.mean_image(CAT, CAT) == 0


def test_one_mean_image_is_scored_against_every_truth(seeded):
    truth, images = (
        torch.rand(4, 1, 3, 16, 16, generator=seeded(0)),
        torch.rand(7, 3, 16, 16, generator=seeded(1)),
    )
    scores = metrics.mean_image(truth, images)
    assert scores.shape == (4, 1)
    assert scores[2, 0] == metrics.rmse(images.mean(0), truth[2, 0])


def test_the_mean_photograph_is_what_the_rmse_docstring_says():
    photographs = data.photos().x
    scores = metrics.mean_image(photographs, photographs)
    assert scores.shape == (12,)
    assert scores.mean().item() == pytest.approx(0.27, abs=0.02)


def test_noise_scores_about_one_point_one(seeded):
    assert metrics.noise_baseline(data.photos().x, seeded(0)).mean().item() == pytest.approx(
        1.1, abs=0.1
    )
    assert metrics.noise_baseline(CAT, seeded(0)).equal(metrics.noise_baseline(CAT, seeded(0)))


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [
        (11, 12, 0.6461, 0.9851),
        (12, 12, 0.7575, 1.0),
        (0, 12, 0.0, 0.2425),
        (5, 10, 0.2366, 0.7634),
    ],
)
def test_wilson_intervals(successes, total, low, high):
    rate = metrics.success_rate(torch.arange(total) < successes)
    assert (rate.successes, rate.total) == (successes, total)
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=1e-4)


@given(total=st.integers(1, 60), share=st.floats(0, 1))
def test_a_surer_interval_is_wider_and_holds_the_rate(total, share):
    successes = round(share * total)
    sure, surer = (
        metrics.success_rate(torch.arange(total) < successes, level) for level in (0.9, 0.99)
    )
    assert 0 <= surer.low <= sure.low <= successes / total + 1e-9
    assert 1 >= surer.high >= sure.high >= successes / total - 1e-9


def test_a_rate_reads_well_and_takes_any_shape():
    assert (
        str(metrics.success_rate(torch.tensor([[True] * 6, [True] * 5 + [False]])))
        == "11 of 12 (65–99 %)"
    )


@pytest.mark.parametrize(
    "success", [torch.tensor([1, 0]), torch.tensor([0.5]), torch.zeros(0, dtype=torch.bool)]
)
def test_a_rate_counts_nothing_but_bools(success):
    with pytest.raises(ValueError, match=r"bool tensor with entries, got torch\.\w+ with \d"):
        metrics.success_rate(success)


@given(st.permutations(range(5)))
def test_matched_undoes_any_order(order):
    truth = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    noise = 0.05 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    assert metrics.align((truth + noise)[order], truth).equal(truth + noise)


def test_matched_gives_each_image_away_once():
    """Both guesses are nearest to the first image; together they are better off with one each."""
    truth = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    x = torch.tensor([0.3, 0.1]).view(2, 1, 1, 1)
    assert metrics.align(x, truth).flatten().tolist() == pytest.approx([0.1, 0.3])


def test_matched_needs_two_batches_of_the_same_shape():
    with pytest.raises(ValueError, match=r"got \(1, 2, 1, 4, 4\) and \(2, 1, 4, 4\); try x\[0\]"):
        metrics.align(torch.zeros(1, 2, 1, 4, 4), torch.zeros(2, 1, 4, 4))
