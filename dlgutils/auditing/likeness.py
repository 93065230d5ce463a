"""How like its truth each image is, and whether anybody would recognise it."""

from typing import NamedTuple

import torch
from torch import Tensor

from dlgutils import metrics

RECOGNISABLE = 0.5
"""The SSIM from which on an image counts as recognisable."""
_GREY = 0.5
_CLOSE = 0.5  # of the baseline: a grey image is nearer to some images than all others are


class Likeness(NamedTuple):
    """Of each image, (batch,)."""

    ssim: Tensor
    mse: Tensor
    baseline: Tensor  # MSE of somebody without an update
    recognisable: Tensor  # bool: an SSIM of 0.5 or more, and nearer than the baseline

    @property
    def close(self) -> Tensor:
        """Whether its error is below half of the baseline's, (batch,) bool."""
        return self.mse < _CLOSE * self.baseline


def likeness(x: Tensor, truth: Tensor) -> Likeness:
    """Images, clipped to [0, 1], beside their truths: both (batch, channels, height, width)."""
    shown = x.clamp(0, 1)
    ssim = torch.cat([metrics.ssim(a[None], b[None]) for a, b in zip(shown, truth, strict=True)])
    mse, baseline = metrics.mse(shown, truth), baseline_mse(truth)
    return Likeness(ssim, mse, baseline, (ssim >= RECOGNISABLE) & (mse < baseline))


def baseline_mse(truth: Tensor) -> Tensor:
    """The MSE of somebody without an update, (batch,): mid-grey, or the mean of the other images.

    The one that is nearer counts. truth: (batch, channels, height, width).
    """
    grey = metrics.mse(torch.full_like(truth, _GREY), truth)
    return grey.minimum(metrics.mean_image(truth, truth).square()) if differ(truth) else grey


def differ(truth: Tensor) -> bool:
    """Whether there is another image than the first, so that each has one beside it."""
    return not truth.eq(truth[:1]).all()
