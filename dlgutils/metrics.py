"""How good is a reconstruction? The only module where the truth meets one.

Images are in [0, 1] and scored one by one: a reconstruction of shape (..., channels, height,
width) against a truth that expands to it gives (...) numbers, so a result's x (runs, batch, ...)
and a batch's x (batch, ...) give (runs, batch). A truth that has runs where the result has images
is refused, never spread over them. Reconstructions are clipped to [0, 1] first only where it says
so.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor


def mse(x: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error over the pixels of each image, ≥ 0, in units of [0, 1]²."""
    return ((x - _same_images(x, truth)) ** 2).mean((-3, -2, -1))


def rmse(x: Tensor, truth: Tensor) -> Tensor:
    """Root of the mean squared error of each image, ≥ 0; 0.27 is about what the mean photograph scores."""
    return mse(x, truth).sqrt()


def psnr(x: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, −10 log₁₀ MSE: 20 dB is MSE 1e-2, 30 dB is 1e-3."""
    return -10 * mse(x, truth).log10()


def ssim(x: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of each image, clipped to [0, 1] first: at most 1 (Wang et al. 2004; by torchmetrics)."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    pair = (
        t.clamp(0, 1).flatten(0, -4) if t.ndim > 3 else t[None].clamp(0, 1)
        for t in (x, _same_images(x, truth))
    )
    return structural_similarity_index_measure(*pair, data_range=1.0, reduction="none").view(
        x.shape[:-3]
    )


def label_accuracy(y: Tensor, truth: Tensor) -> Tensor:
    """The share of right labels of each run, in [0, 1]: y (runs, batch) against (batch,) or (runs, batch) gives (runs,)."""
    return (y == _fit(truth, y.shape)).float().mean(-1)


def align(x: Tensor, truth: Tensor) -> Tensor:
    """The images of one batch, (batch, ...), in the order of the truth, (batch, ...): each beside its own.

    The order is the one with the least sum of squared errors (the Hungarian method, by scipy),
    since a gradient does not say which image came first. Raises ValueError for batches of
    different shapes.
    """
    from scipy.optimize import linear_sum_assignment

    if x.shape != truth.shape or x.ndim != 4:
        raise ValueError(
            f"two batches of the same images are matched, got {tuple(x.shape)} and {tuple(truth.shape)}; try x[0]"
        )
    errors = torch.stack([mse(x, image) for image in truth])  # (truth, x)
    return x[linear_sum_assignment(errors.cpu())[1]]


def mean_image(truth: Tensor, images: Tensor) -> Tensor:
    """The score of who ignores the gradient: the RMSE of the mean of `images`, (n, ...), against each image of `truth`."""
    return rmse(truth, images.mean(0))  # the RMSE is the same either way round


def noise_baseline(truth: Tensor, generator: Generator) -> Tensor:
    """The score of the reference loops' start: the RMSE of N(0, 1) noise against `truth`, (batch, ...): about 1.1."""
    return rmse(torch.randn(truth.shape, generator=generator).to(truth), truth)


class Rate(NamedTuple):
    """n successes of N, with the Wilson interval: `print(rate)` shows "11 of 12 (65–99 %)"."""

    successes: int
    total: int
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.successes} of {self.total} ({100 * self.low:.0f}–{100 * self.high:.0f} %)"


def success_rate(success: Tensor, confidence: float = 0.95) -> Rate:
    """How many of `success`, a bool tensor of any shape, are true, with the Wilson score interval (Wilson 1927)."""
    from scipy.stats import binomtest

    if success.dtype != torch.bool or success.numel() == 0:
        raise ValueError(
            f"a rate counts a bool tensor with entries, got {success.dtype} with {success.numel()}"
        )
    n, k = success.numel(), int(success.sum())
    interval = binomtest(k, n).proportion_ci(confidence, method="wilson")
    return Rate(k, n, float(interval.low), float(interval.high))


def _same_images(x: Tensor, truth: Tensor) -> Tensor:
    """The truth in the shape of x."""
    if x.shape[-3:] != truth.shape[-3:]:
        raise ValueError(
            f"images of shape {tuple(x.shape[-3:])} cannot be scored against {tuple(truth.shape[-3:])}; "
            "give both as (..., channels, height, width)"
        )
    return _fit(truth, x.shape)


def _fit(truth: Tensor, shape: torch.Size) -> Tensor:
    try:
        return truth.expand(shape)
    except RuntimeError as error:
        raise ValueError(
            f"a truth of shape {tuple(truth.shape)} does not fit results of shape {tuple(shape)}; "
            "one image a run? give truth.x[:, None], truth.y[:, None]"
        ) from error
