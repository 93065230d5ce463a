"""What probes found beside the truth, and which of it the attacker would choose without it."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dlgutils import metrics
from dlgutils.auditing.inputs import class_ids
from dlgutils.auditing.likeness import differ, likeness
from dlgutils.auditing.records import Finding, Scores
from dlgutils.federated import Round
from dlgutils.metrics import Rate
from dlgutils.types import Batch

_GREY = 0.5
_FEW, _RIGHT = 5, 0.95  # units that look kept, and the share of them that were, at least


def load_scores(x: Tensor) -> None:
    """Load the packages that scores need, which takes seconds the first time, for no probe's sake.

    x: an image, (1, channels, height, width).
    """
    scores_of(x, x)
    metrics.order(_exact(x), _exact(x))


def scored(finding: Finding, secret: Round) -> Finding:
    """The finding with what its labels and images are worth; images in the order of the truth."""
    truth = secret.secret
    finding = _with_labels(finding, class_ids(truth.y))
    if finding.found is None:
        return _with_masks(finding, secret)
    x = finding.found.x.detach().nan_to_num(_GREY, _GREY, _GREY)
    order = metrics.order(_exact(x).clamp(0, 1), _exact(truth.x))
    masks = {name: mask[order] for name, mask in finding.masks.items() if len(mask) == len(order)}
    found = Batch(x[order], finding.found.y[order])
    scores = scores_of(found.x, truth.x)
    verdict = "leak" if _leaks(scores) else "quiet"
    finding = replace(finding, found=found, masks=masks, scores=scores, verdict=verdict)
    if finding.distance is not None and not math.isfinite(finding.distance):
        finding = replace(finding, distance=None)
    return _with_masks(finding, secret)


def scores_of(x: Tensor, truth: Tensor) -> Scores:
    """How good images are, (batch, channels, height, width), in the order of the truth."""
    x, truth = _exact(x), _exact(truth)
    like = likeness(x, truth)
    identified = None
    if differ(truth):
        told_apart = metrics.identified(x, truth, truth) & like.close
        identified = metrics.success_rate(told_apart)
    return Scores(
        recognisable=metrics.success_rate(like.recognisable),
        identified=identified,
        mse=float(like.mse.median()),
        ssim=float(like.ssim.median()),
        baseline_mse=float(like.baseline.median()),
    )


def _exact(x: Tensor) -> Tensor:
    """In single precision at least: half of it rounds scores, and NumPy has no bfloat16."""
    return x.float() if x.element_size() < 4 else x


def attackers_choice(findings: Sequence[Finding]) -> int | None:
    """Which finding has images whose update is nearest to what was sent; None: none has images.

    Images without a distance come after all that have one.
    """
    with_images = [k for k, finding in enumerate(findings) if finding.found is not None]

    def distance(k: int) -> tuple[bool, float]:
        measured = findings[k].distance
        return measured is None, measured or 0.0

    return min(with_images, key=distance, default=None)


def right_labels(named: Tensor, truth: Tensor) -> Rate:
    """How many of the client's labels, (batch,), are among those named, each as often as it is."""
    common = Counter(named.tolist()) & Counter(truth.tolist())
    right = torch.arange(len(truth)) < common.total()
    return metrics.success_rate(right)


def _with_labels(finding: Finding, truth: Tensor | None) -> Finding:
    """The finding with its labels counted; one that has nothing else and none right is quiet."""
    if finding.named is None or truth is None:
        return finding
    rate = right_labels(finding.named, truth)
    wrong = finding.probe == "labels" and not finding.certificate and rate.successes < rate.total
    return replace(finding, labels=rate, verdict="quiet" if wrong else finding.verdict)


def _with_masks(finding: Finding, secret: Round) -> Finding:
    """The finding of one image's masks, beside those that the client drew.

    A unit that was zero anyway looks dropped, which is no error. So those that look kept count: a
    reading of few of them, or of wrong ones, is one that noise makes.
    """
    if finding.probe != "masks" or len(secret.secret.x) > 1 or not finding.masks:
        return finding
    kept = torch.cat([mask.flatten() > 0 for mask in finding.masks.values()])
    drawn = torch.cat([secret.masks[name].flatten() > 0 for name in finding.masks])
    shown, right = int(kept.sum()), int((kept & drawn).sum())
    told = f"{finding.told} Of {shown} units that look kept, {right} were."
    reads = shown >= _FEW and right >= _RIGHT * shown
    return replace(finding, told=told, verdict="leak" if reads else "quiet")


def _leaks(scores: Scores) -> bool:
    identified = scores.identified is not None and scores.identified.successes > 0
    return scores.recognisable.successes > 0 or identified
