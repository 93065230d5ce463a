"""Pictures of results. Every function draws on the axes given, or on new ones, and returns them; none calls `plt.show()`."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from torch import Tensor

from dlgutils import metrics
from dlgutils.types import Result


def images(
    x: Tensor, titles: Sequence[object] = (), axes: Sequence[Axes] | None = None
) -> np.ndarray:
    """Pictures side by side: x (n, channels, height, width), clipped to [0, 1]; titles: up to n of them; n axes."""
    axes = _grid(len(x)) if axes is None else np.atleast_1d(axes)
    for ax, picture in zip(axes, x.detach().cpu(), strict=True):
        ax.imshow(
            picture.clamp(0, 1).permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1
        )
        ax.set_axis_off()
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(title, fontsize=9)
    return axes


def film(
    result: Result,
    *,
    run: int = 0,
    image: int = 0,
    most: int = 6,
    axes: Sequence[Axes] | None = None,
) -> np.ndarray:
    """The film of one run as a strip of at most `most` pictures, each titled with its number of evaluations."""
    chosen = torch.linspace(0, len(result.frames) - 1, min(most, len(result.frames))).round().long()
    return images(result.frames[chosen, run, image], result.frame_steps[chosen].tolist(), axes)


def losses(results: Mapping[str, Result], ax: Axes | None = None) -> Axes:
    """The lowest matching loss so far against the evaluations: median over the runs, and the band of all of them."""
    ax = ax or plt.subplots(figsize=(7, 3.2))[1]
    for name, result in results.items():
        _curve(ax, name, torch.arange(1, result.loss.shape[1] + 1), result.best_loss_so_far.T)
    return _label(ax, "lowest matching loss so far")


def rmse(
    results: Mapping[str, Result],
    truth: Tensor,
    ax: Axes | None = None,
    *,
    baseline: float | None = None,
) -> Axes:
    """The RMSE of the film's pictures against the evaluations: median over runs and images, and the band of all of them.

    truth: (batch, ...) or (runs, batch, ...). baseline: an RMSE drawn as a dashed line, e.g.
    `metrics.mean_image`.
    """
    ax = ax or plt.subplots(figsize=(7, 3.2))[1]
    for name, result in results.items():
        scores = metrics.rmse(result.frames, truth).flatten(1)  # (frames, runs · batch)
        _curve(ax, name, result.frame_steps, scores)
    if baseline is not None:
        ax.axhline(baseline, color="grey", linestyle="--", label="mean image")
    return _label(ax, "RMSE")


def _grid(n: int) -> np.ndarray:
    """n axes in as few rows as hold six pictures each: what a page shows at a size to look at."""
    rows = math.ceil(n / 6)
    columns = math.ceil(n / rows)
    axes = plt.subplots(
        rows, columns, figsize=(1.3 * columns, 1.6 * rows), layout="constrained", squeeze=False
    )[1].flat
    for ax in axes[n:]:
        ax.remove()
    return axes[:n]


def _curve(ax: Axes, name: str, steps: Tensor, values: Tensor) -> None:
    """values: (steps, runs)."""
    values = values.detach().cpu()
    (line,) = ax.plot(steps, values.median(1).values, label=name)
    ax.fill_between(
        steps, values.amin(1), values.amax(1), color=line.get_color(), alpha=0.15, linewidth=0
    )


def _label(ax: Axes, quantity: str) -> Axes:
    ax.set(xlabel="evaluations", ylabel=quantity, yscale="log")
    ax.legend(frameon=False, fontsize="small", ncols=2)
    return ax
