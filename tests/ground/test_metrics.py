"""Scores: known answers, one number per image, whatever axes come first."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlgutils import data, metrics

CAT = data.photos("cat").x
SCORES = [metrics.mse, metrics.rmse, metrics.psnr, metrics.ssim]
every_score = pytest.mark.parametrize("score", SCORES, ids=lambda f: f.__name__)


@pytest.mark.parametrize(
    ("score", "value"),
    [(metrics.mse, 1e-2), (metrics.rmse, 1e-1), (metrics.psnr, 20.0)],
    ids=["mse", "rmse", "psnr"],
)
def test_scores_of_an_error_of_a_tenth_everywhere(score, value):
    x = CAT.double()
    assert score(x + 0.1, x).item() == pytest.approx(value)


def test_scores_of_a_perfect_reconstruction():
    assert metrics.mse(CAT, CAT) == 0
    assert metrics.psnr(CAT, CAT) == torch.inf
    assert metrics.ssim(CAT, CAT).item() == pytest.approx(1, abs=1e-6)


def test_ssim_falls_with_noise_and_ignores_what_the_screen_clips(seeded):
    noise = torch.randn(CAT.shape, generator=seeded(0))
    near = metrics.ssim(CAT + 0.02 * noise, CAT).item()
    far = metrics.ssim(CAT + 0.3 * noise, CAT).item()
    assert far < 0.7 < near < 1
    beyond_white = CAT.where(CAT.max() > CAT, 3)
    assert metrics.ssim(beyond_white, CAT).item() == pytest.approx(1, abs=1e-3)


@every_score
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
def test_scores_are_one_number_per_image(score, x, truth, seeded):
    generator = seeded(0)
    images = torch.rand(x, generator=generator)
    true = torch.rand(truth, generator=generator)
    assert score(images, true).shape == x[:-3]


@every_score
def test_scores_compare_every_run_with_its_own_truth(score, seeded):
    truth = torch.rand(2, 3, 1, 16, 16, generator=seeded(0), dtype=torch.float64)
    noise = torch.rand(truth.shape, generator=seeded(1), dtype=torch.float64)
    x = truth + 0.1 * noise
    together = score(x, truth)
    alone = torch.stack([score(x[0], truth[0]), score(x[1], truth[1])])
    assert together.allclose(alone, rtol=1e-9)


@every_score
def test_scores_refuse_images_of_different_shapes(score):
    large = data.photos("cat", size=64).x
    with pytest.raises(
        ValueError, match=r"\(3, 32, 32\) cannot be scored against \(3, 64, 64\); give both as"
    ):
        score(CAT, large)


@every_score
@pytest.mark.parametrize("x", [(4, 1, 3, 16, 16), (3, 16, 16), (5, 4, 1, 3, 16, 16)], ids=str)
def test_scores_refuse_four_runs_of_one_image_against_four_images(score, x):
    fits = (
        r"a truth of shape \(4, 3, 16, 16\) does not fit results of shape \("
        r".*truth\.x\[:, None\], truth\.y\[:, None\]"
    )
    with pytest.raises(ValueError, match=fits):
        score(torch.zeros(x), torch.zeros(4, 3, 16, 16))


def test_mse_does_not_broadcast_grey_over_colour():
    with pytest.raises(ValueError, match=r"\(3, 32, 32\) cannot be scored against \(1, 32, 32\)"):
        metrics.mse(CAT, CAT[:, :1])


def test_label_accuracy_is_one_number_for_each_run():
    found = torch.tensor([[0, 1, 2, 3], [0, 0, 0, 0]])
    truth = torch.tensor([0, 1, 2, 0])
    assert metrics.label_accuracy(found, truth).tolist() == [0.75, 0.5]
    assert metrics.label_accuracy(found, found).tolist() == [1, 1]


def test_label_accuracy_does_not_compare_a_run_with_the_others():
    found = torch.tensor([[0], [1], [2]])
    truth = torch.tensor([0, 1, 5])
    assert metrics.label_accuracy(found, truth[:, None]).tolist() == [1, 1, 0]
    with pytest.raises(
        ValueError, match=r"a truth of shape \(3,\) does not fit results of shape \(3, 1\)"
    ):
        metrics.label_accuracy(found, truth)


def test_mean_image_leaves_the_secret_out(seeded):
    images = torch.rand(7, 3, 16, 16, generator=seeded(1)).double()
    scores = metrics.mean_image(images[:4, None], images)
    assert scores.shape == (4, 1)
    others = images[[0, 1, 3, 4, 5, 6]].mean(0)
    assert scores[2, 0] == metrics.rmse(others, images[2])


def test_mean_image_of_images_without_the_secret_is_their_mean(seeded):
    truth = torch.rand(1, 3, 16, 16, generator=seeded(0)).double()
    images = torch.rand(7, 3, 16, 16, generator=seeded(1)).double()
    guess = images.mean(0, keepdim=True)
    assert metrics.mean_image(truth, images).equal(metrics.rmse(guess, truth))


@pytest.mark.parametrize("score", [metrics.mean_image, lambda t, i: metrics.identified(t, t, i)])
def test_scores_against_other_images_want_another_image(score):
    with pytest.raises(ValueError, match="none of the 1 images differs"):
        score(CAT, CAT)


def test_identified_names_the_nearest_image(seeded):
    photographs = data.photos().x
    noise = torch.randn(photographs.shape, generator=seeded(0))
    near = (photographs + 0.05 * noise)[:, None]
    assert metrics.identified(near, photographs[:, None], photographs).all()
    swapped = near.roll(1, 0)
    assert not metrics.identified(swapped, photographs[:, None], photographs).any()


def test_identified_does_not_mind_a_secret_outside_the_images():
    photographs = data.photos().x
    x = photographs[:2] * 0.9 + 0.05
    assert metrics.identified(x, photographs[:2], photographs[2:]).tolist() == [True, True]


def test_identified_clips_first():
    photographs = data.photos().x
    beyond = 100 * (photographs - 0.5)
    clipped = beyond.clamp(0, 1)
    found = metrics.identified(beyond, photographs, photographs)
    assert found.equal(metrics.identified(clipped, photographs, photographs))


def test_mean_image_of_photographs_scores_what_the_docstring_of_rmse_says():
    photographs = data.photos().x
    scores = metrics.mean_image(photographs, photographs)
    assert scores.shape == (12,)
    assert scores.mean().item() == pytest.approx(0.30, abs=0.02)


def test_noise_baseline_is_about_one_point_one(seeded):
    scores = metrics.noise_baseline(data.photos().x, seeded(0))
    assert scores.mean().item() == pytest.approx(1.1, abs=0.1)
    first = metrics.noise_baseline(CAT, seeded(0))
    assert first.equal(metrics.noise_baseline(CAT, seeded(0)))


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [
        (11, 12, 0.6461, 0.9851),
        (12, 12, 0.7575, 1.0),
        (0, 12, 0.0, 0.2425),
        (5, 10, 0.2366, 0.7634),
    ],
)
def test_success_rate_has_a_wilson_interval(successes, total, low, high):
    rate = metrics.success_rate(torch.arange(total) < successes)
    assert (rate.successes, rate.total) == (successes, total)
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=1e-4)


@given(total=st.integers(1, 60), share=st.floats(0, 1))
def test_success_rate_has_a_wider_interval_when_it_is_surer(total, share):
    successes = round(share * total)
    success = torch.arange(total) < successes
    sure = metrics.success_rate(success, 0.9)
    surer = metrics.success_rate(success, 0.99)
    assert 0 <= surer.low <= sure.low <= successes / total + 1e-9
    assert 1 >= surer.high >= sure.high >= successes / total - 1e-9


def test_success_rate_reads_well_and_takes_any_shape():
    success = torch.tensor([[True] * 6, [True] * 5 + [False]])
    assert str(metrics.success_rate(success)) == "11 of 12 (65–99 %)"


@pytest.mark.parametrize(
    "success", [torch.tensor([1, 0]), torch.tensor([0.5]), torch.zeros(0, dtype=torch.bool)]
)
def test_success_rate_counts_only_bools(success):
    with pytest.raises(ValueError, match=r"bool tensor with entries, got torch\.\w+ with \d"):
        metrics.success_rate(success)


def test_order_says_which_image_is_which(seeded):
    truth = torch.rand(5, 3, 8, 8, generator=seeded(0))
    shuffle = torch.randperm(5, generator=seeded(1))
    order = metrics.order(truth[shuffle], truth)
    assert order.dtype == torch.int64
    assert shuffle[order].tolist() == [0, 1, 2, 3, 4]


@given(st.permutations(range(5)))
def test_align_undoes_any_order(order):
    truth = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    noise = 0.05 * noise
    assert metrics.align((truth + noise)[order], truth).equal(truth + noise)


def test_align_gives_each_image_away_once():
    """Both guesses are nearest to the first image; together they are better off with one each."""
    truth = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    x = torch.tensor([0.3, 0.1]).view(2, 1, 1, 1)
    aligned = metrics.align(x, truth)
    assert aligned.flatten().tolist() == pytest.approx([0.1, 0.3])


def test_align_needs_two_batches_of_the_same_shape():
    with pytest.raises(ValueError, match=r"got \(1, 2, 1, 4, 4\) and \(2, 1, 4, 4\); try x\[0\]"):
        metrics.align(torch.zeros(1, 2, 1, 4, 4), torch.zeros(2, 1, 4, 4))


def test_ssim_refuses_images_that_are_too_small():
    with pytest.raises(ValueError, match=r"at least 6×6 pixels, got \(4, 9\)"):
        metrics.ssim(CAT[..., :4, :9], CAT[..., :4, :9])


def test_order_takes_half_precision():
    assert metrics.order(CAT.bfloat16(), CAT.bfloat16()).tolist() == [0]
