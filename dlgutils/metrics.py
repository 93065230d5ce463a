"""How good is a reconstruction? The only module where the truth meets one.

Images are in [0, 1] and scored one by one: a reconstruction of shape (..., channels, height, width)
against a truth that expands to it gives (...) numbers. So a result's x, (runs, batch, ...), and a
batch's x, (batch, ...), give (runs, batch). A truth that has runs where the result has images is
refused, never broadcast. Reconstructions are clipped to [0, 1] first only where a docstring says
so.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor


def mse(x: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error over the pixels of each image, ≥ 0, in units of [0, 1]²."""
    error = x - _expand_images(truth, x)
    return (error**2).mean((-3, -2, -1))


def rmse(x: Tensor, truth: Tensor) -> Tensor:
    """Root of the mean squared error of each image, ≥ 0; the mean photograph scores about 0.30."""
    return mse(x, truth).sqrt()


def psnr(x: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB: −10 log₁₀ MSE.

    20 dB is an MSE of 1e-2, 30 dB of 1e-3.
    """
    return -10 * mse(x, truth).log10()


def ssim(x: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of each image, clipped to [0, 1] first: at most 1.

    Source: Wang et al. 2004, doi:10.1109/TIP.2003.819861; computed by torchmetrics. Raises
    ValueError for images of less than 6 pixels a side.
    """
    if min(x.shape[-2:]) < 6:
        raise ValueError(
            f"structural similarity is of images of at least 6×6 pixels, got {tuple(x.shape[-2:])}"
        )
    from torchmetrics.functional import image as scores

    each = scores.structural_similarity_index_measure(
        _clipped_batch(x),
        _clipped_batch(_expand_images(truth, x)),
        data_range=1.0,
        reduction="none",
    )
    return each.view(x.shape[:-3])


def label_accuracy(y: Tensor, truth: Tensor) -> Tensor:
    """The share of correct labels in each run, (runs,), in [0, 1].

    y: (runs, batch). truth: (batch,) or (runs, batch).
    """
    right = y == _expand(truth, y.shape)
    return right.float().mean(-1)


def align(x: Tensor, truth: Tensor) -> Tensor:
    """The images of one batch, (batch, ...), in the order of the truth, (batch, ...).

    Raises ValueError as `order` does.
    """
    return x[order(x, truth)]


def order(x: Tensor, truth: Tensor) -> Tensor:
    """Which image of a batch belongs to which of the truth, (batch,): x[order(x, truth)] fits it.

    It has the least sum of squared errors of all orders, since a gradient does not show which image
    came first (the Hungarian method, Kuhn 1955, doi:10.1002/nav.3800020109; by scipy). Raises
    ValueError for batches of different shapes.
    """
    from scipy.optimize import linear_sum_assignment

    if x.shape != truth.shape or x.ndim != 4:
        raise ValueError(
            "two batches of the same images are aligned, "
            f"got {tuple(x.shape)} and {tuple(truth.shape)}; try x[0]"
        )
    errors = torch.stack([mse(x, image) for image in truth])  # (truth, x)
    _, columns = linear_sum_assignment(errors.double().cpu())
    return torch.from_numpy(columns).to(x.device)


def mean_image(truth: Tensor, images: Tensor) -> Tensor:
    """The RMSE of an attacker without a gradient, who guesses the mean of all *other* images.

    truth: (..., channels, height, width). images: (n, channels, height, width), from which the
    image that is being guessed is left out. Raises ValueError where no other image is left.
    """
    guesses = [images[_others(image, images)].mean(0) for image in truth.flatten(0, -4)]
    return rmse(torch.stack(guesses).view(truth.shape), truth)


def identified(x: Tensor, truth: Tensor, images: Tensor) -> Tensor:
    """Whether each reconstruction, clipped to [0, 1], is nearer to its own image than to any other.

    The answer is a bool tensor (...): a person who knows all the images could tell which one was
    attacked, even where the reconstruction is blurred.

    x: (..., channels, height, width). truth: a shape that expands to it. images: those to tell it
    from, (n, channels, height, width); whether the own image is among them makes no difference.
    Raises ValueError where no other image is left.
    """
    shown = _clipped_batch(x)
    own = _expand_images(truth, x).reshape(shown.shape)
    pairs = zip(shown, own, strict=True)
    nearest = [mse(images[_others(t, images)], image).min() for image, t in pairs]
    return (mse(shown, own) < torch.stack(nearest)).view(x.shape[:-3])


def noise_baseline(truth: Tensor, generator: Generator) -> Tensor:
    """The score of the reference loops' start: the RMSE of N(0, 1) noise, about 1.1.

    truth: (batch, ...). generator: on the CPU.
    """
    noise = torch.randn(truth.shape, generator=generator)
    return rmse(noise.to(truth), truth)


class Rate(NamedTuple):
    """n successes of N, with the Wilson interval: `print(rate)` shows "11 of 12 (65–99 %)"."""

    successes: int
    total: int
    low: float
    high: float

    def __str__(self) -> str:
        low = 100 * self.low
        high = 100 * self.high
        return f"{self.successes} of {self.total} ({low:.0f}–{high:.0f} %)"


def success_rate(success: Tensor, confidence: float = 0.95) -> Rate:
    """How many of `success` are true, with the Wilson score interval.

    success: a bool tensor of any shape. confidence: of the interval, in (0, 1). Raises ValueError
    for another dtype, or no entries. Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    from scipy.stats import binomtest

    total = success.numel()
    if success.dtype != torch.bool or total == 0:
        raise ValueError(
            f"a rate counts a bool tensor with entries, got {success.dtype} with {total}"
        )
    successes = int(success.sum())
    test = binomtest(successes, total)
    interval = test.proportion_ci(confidence, method="wilson")
    return Rate(successes, total, low=float(interval.low), high=float(interval.high))


def _others(image: Tensor, images: Tensor) -> Tensor:
    """Which of the images are not this one, (n,)."""
    others = mse(images, image) > 0
    if not others.any():
        raise ValueError(f"none of the {len(images)} images differs from the one that is scored")
    return others


def _expand_images(truth: Tensor, x: Tensor) -> Tensor:
    """The truth in the shape of x."""
    wanted = tuple(x.shape[-3:])
    got = tuple(truth.shape[-3:])
    if wanted != got:
        raise ValueError(
            f"images of shape {wanted} cannot be scored against {got}; "
            "give both as (..., channels, height, width)"
        )
    return _expand(truth, x.shape)


def _expand(truth: Tensor, shape: torch.Size) -> Tensor:
    try:
        return truth.expand(shape)
    except RuntimeError as error:
        raise ValueError(
            f"a truth of shape {tuple(truth.shape)} does not fit results of shape {tuple(shape)}; "
            "one image a run? give truth.x[:, None], truth.y[:, None]"
        ) from error


def _clipped_batch(x: Tensor) -> Tensor:
    """All images of x in [0, 1], with one axis before the channels."""
    clipped = x.clamp(0, 1)
    return clipped.flatten(0, -4) if x.ndim > 3 else clipped[None]
