"""Findings beside the truth: in its order, against a guess without the update, and by distance."""

import math

import pytest
import torch

import dlgutils as du
from dlgutils import data, models
from dlgutils.auditing import Finding
from dlgutils.auditing.client import client_round
from dlgutils.auditing.likeness import baseline_mse
from dlgutils.auditing.scoring import attackers_choice, right_labels, scored, scores_of

TRUTH = du.Batch(*(part[:4] for part in data.photos()))


@pytest.fixture(scope="module")
def secret():
    """A round of four photographs."""
    model = models.init_default(models.lenet(dropout=0.5), torch.Generator().manual_seed(0))
    return client_round(model, TRUTH, torch.Generator().manual_seed(0))


def test_scored_puts_images_and_labels_into_the_order_of_the_truth(secret):
    shuffle = torch.tensor([2, 0, 3, 1])
    found = du.Batch(TRUTH.x[shuffle], TRUTH.y[shuffle])
    finding = scored(Finding("p", "leak", "", found=found, named=found.y), secret)
    assert finding.found.x.equal(TRUTH.x)
    assert finding.found.y.equal(TRUTH.y)
    assert finding.scores.recognisable.successes == finding.scores.identified.successes == 4
    assert finding.labels.successes == 4
    assert (finding.scores.mse, finding.verdict) == (0, "leak")


@pytest.mark.parametrize("guess", ["grey", "mean", "noise", "black", "nan"])
def test_scored_calls_a_guess_without_the_update_quiet(secret, guess):
    noise = torch.rand(TRUTH.x.shape, generator=torch.Generator().manual_seed(0))
    guesses = {
        "grey": torch.full_like(TRUTH.x, 0.5),
        "mean": TRUTH.x.mean(0, keepdim=True).expand_as(TRUTH.x),
        "noise": noise,
        "black": torch.zeros_like(TRUTH.x),
        "nan": torch.full_like(TRUTH.x, torch.nan),
    }
    found = du.Batch(guesses[guess], TRUTH.y)
    finding = scored(Finding("p", "leak", "", found=found, distance=math.inf), secret)
    assert finding.verdict == "quiet"
    assert finding.scores.recognisable.successes == 0
    assert finding.scores.identified.successes == 0
    assert finding.distance is None
    assert math.isfinite(finding.scores.mse)


def test_baseline_is_the_better_of_grey_and_the_mean_of_the_others():
    baseline = baseline_mse(TRUTH.x)
    others = torch.stack([TRUTH.x[[k for k in range(4) if k != own]].mean(0) for own in range(4)])
    of_mean = (others - TRUTH.x).square().mean((1, 2, 3))
    of_grey = (TRUTH.x - 0.5).square().mean((1, 2, 3))
    torch.testing.assert_close(baseline, torch.minimum(of_mean, of_grey))
    torch.testing.assert_close(baseline_mse(TRUTH.x[:1]), of_grey[:1])


def test_scores_of_one_image_identify_nobody():
    scores = scores_of(TRUTH.x[:1], TRUTH.x[:1])
    assert scores.identified is None
    assert scores.recognisable.successes == 1


def test_scored_counts_labels_as_a_multiset(secret):
    assert right_labels(torch.tensor([1, 1, 2]), torch.tensor([1, 2, 2])).successes == 2
    assert right_labels(torch.tensor([3, 2, 1]), torch.tensor([1, 2, 3])).successes == 3
    assert right_labels(torch.tensor([], dtype=torch.int64), torch.tensor([1])).successes == 0
    wrong = scored(Finding("labels", "leak", "", named=TRUTH.y + 1), secret)
    assert (wrong.verdict, wrong.labels.successes) == ("quiet", 3)


def test_scored_believes_a_mask_only_where_what_looks_kept_was():
    model = models.init_default(models.lenet(dropout=0.5), torch.Generator().manual_seed(0))
    one = du.Batch(TRUTH.x[:1], TRUTH.y[:1])
    secret = client_round(model, one, torch.Generator().manual_seed(0))
    ((name, mask),) = secret.masks.items()
    masks = {"leak": mask, "quiet": mask.roll(1, -1)}
    for verdict, read in masks.items():
        assert scored(Finding("masks", "leak", "", masks={name: read}), secret).verdict == verdict
    nothing = Finding("masks", "leak", "", masks={name: torch.zeros_like(mask)})
    assert scored(nothing, secret).verdict == "quiet"


def test_attackers_choice_is_the_nearest_update():
    near, far = (Finding("p", "leak", "", found=TRUTH, distance=d) for d in (1e-9, 0.5))
    unknown, none = Finding("p", "leak", "", found=TRUTH), Finding("p", "leak", "", distance=-1.0)
    assert attackers_choice([none, unknown, far, near]) == 3
    assert attackers_choice([far, none, unknown]) == 0
    assert attackers_choice([unknown]) == 0
    assert attackers_choice([none]) is None
