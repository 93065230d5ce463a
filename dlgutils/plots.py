"""Still pictures of results.

Every function draws on the axes given, or on new ones, and returns them. None calls `plt.show()`.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from torch import Tensor

from dlgutils import metrics
from dlgutils.types import Result, Tensors


def images(
    x: Tensor, titles: Sequence[object] = (), axes: Sequence[Axes] | None = None
) -> np.ndarray:
    """Pictures side by side: the n axes that they are drawn on.

    x: (n, channels, height, width), clipped to [0, 1]. titles: up to n of them. axes: n of them.
    Raises ValueError for another number of axes, and for a tensor of another shape.
    """
    if x.ndim != 4 or not len(x):
        raise ValueError(
            f"pictures have the shape (n, channels, height, width), got {tuple(x.shape)}; of one "
            "picture pass x[None], of a result the x[0] of its first run"
        )
    axes = _new_axes(len(x)) if axes is None else np.atleast_1d(axes)
    pictures = x.detach().cpu().float().clamp(0, 1)
    for ax, picture in zip(axes, pictures, strict=True):
        pixels = picture.permute(1, 2, 0).squeeze(-1)
        ax.imshow(pixels.numpy(), cmap="gray", vmin=0, vmax=1)
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
    """The film of one run as a strip of pictures: the axes that they are drawn on.

    Args:
        result: of an attack; each picture is titled with its number of evaluations.
        run: which run.
        image: which image of the batch.
        most: the most pictures; the first and the last frame are among them.
        axes: one for each picture.
    """
    frames = len(result.frames)
    chosen = torch.linspace(0, frames - 1, min(most, frames))
    chosen = chosen.round().long()
    pictures = result.frames[chosen, run, image]
    titles = result.frame_steps[chosen].tolist()
    return images(pictures, titles, axes)


def losses(results: Mapping[str, Result], ax: Axes | None = None) -> Axes:
    """The lowest matching loss so far against the evaluations: the axes of the curves.

    results: by the name that the legend shows. A curve is the median over the runs, with a band
    around all of them.
    """
    ax = ax or _wide_axes()
    for name, result in results.items():
        lowest = result.best_loss_so_far.T  # (evaluations, runs)
        evaluations = torch.arange(len(lowest)) + 1
        _curve(ax, name, evaluations, lowest)
    return _label(ax, "lowest matching loss so far")


def rmse(
    results: Mapping[str, Result],
    truth: Tensor,
    ax: Axes | None = None,
    *,
    baseline: float | None = None,
) -> Axes:
    """The RMSE of the film's pictures against the evaluations: the axes of the curves.

    A curve is the median over runs and images, with a band around all of them.

    Args:
        results: by the name that the legend shows.
        truth: (batch, ...) or (runs, batch, ...).
        ax: where to draw.
        baseline: an RMSE drawn as a dashed line, such as that of `metrics.mean_image`.
    """
    ax = ax or _wide_axes()
    for name, result in results.items():
        scores = metrics.rmse(result.frames, truth)
        _curve(ax, name, result.frame_steps, scores.flatten(1))
    if baseline is not None:
        ax.axhline(baseline, color="grey", linestyle="--", label="mean image")
    return _label(ax, "RMSE")


def gradient(tensors: Tensors, ax: Axes | None = None) -> Axes:
    """All numbers of a gradient in one grey square, in their order: the axes that it is drawn on.

    Each is drawn by its rank in its own tensor, the smallest black and the largest white, since the
    sizes differ a thousandfold between layers. What does not fill the last row is left out.
    """
    ax = ax or plt.subplots(figsize=(2.6, 2.6), layout="constrained")[1]
    flat = [tensor.detach().cpu().flatten() for tensor in tensors.values()]
    ranks = torch.cat([each.argsort().argsort() / max(1, len(each) - 1) for each in flat])
    side = math.isqrt(len(ranks))
    ax.imshow(ranks[: side**2].view(side, side).numpy(), cmap="gray", interpolation="nearest")
    ax.set_axis_off()
    return ax


def federated_round(x: Tensor, tensors: Tensors) -> Axes:
    """A drawing of one round, with one client's photograph and gradient: the axes of the drawing.

    x: (1, channels, height, width), which stays with the client. tensors: its gradient.
    """
    _, ax = plt.subplots(figsize=(5.6, 4.8))
    ax.set(xlim=(0, 12), ylim=(0, 10.5))
    ax.set_axis_off()
    _box(ax, (0.2, 8.3, 11.6, 2), "server: has the weights θ,\nreceives the gradients")
    _box(ax, (0.2, 0.2, 7.4, 3.6), "client 1:\nits photograph\nstays here", left=3.9)
    _box(ax, (8, 0.2, 1.7, 3.6), "client\n2")
    _box(ax, (10.1, 0.2, 1.7, 3.6), "client\n3")
    for left in (1.3, 8.5, 10.6):
        _arrow(ax, left, 8.1, 4)
    for left in (4.3, 9.2, 11.3):
        _arrow(ax, left, 4, 8.1)
    ax.text(1.6, 6, "weights θ", va="center")
    ax.text(4.6, 7.3, "gradient g", va="center")
    gradient(tensors, ax.inset_axes((4.7, 4.3, 2.6, 2.6), transform=ax.transData))
    images(x, axes=[ax.inset_axes((0.5, 0.5, 3, 3), transform=ax.transData)])
    return ax


def _box(
    ax: Axes, place: tuple[float, float, float, float], words: str, left: float | None = None
) -> None:
    """Words in a frame, in its middle or from `left` on; place: left, bottom, width, height."""
    x, y, width, height = place
    ax.add_patch(plt.Rectangle((x, y), width, height, fill=False, linewidth=1.2))
    centre = left is None
    where = x + width / 2 if centre else left
    ax.text(where, y + height / 2, words, ha="center" if centre else "left", va="center")


def _arrow(ax: Axes, x: float, start: float, end: float) -> None:
    """An upright arrow at x."""
    ax.annotate("", (x, end), (x, start), arrowprops={"arrowstyle": "-|>", "linewidth": 1.4})


def _new_axes(n: int) -> np.ndarray:
    """n axes in as few rows as hold six pictures each: the page shows them well at this size."""
    rows = math.ceil(n / 6)
    columns = math.ceil(n / rows)
    _, grid = plt.subplots(
        rows, columns, figsize=(1.3 * columns, 1.6 * rows), layout="constrained", squeeze=False
    )
    axes = grid.flat
    for ax in axes[n:]:
        ax.remove()
    return axes[:n]


def _wide_axes() -> Axes:
    _, ax = plt.subplots(figsize=(7, 3.2))
    return ax


def _curve(ax: Axes, name: str, steps: Tensor, values: Tensor) -> None:
    """Draw the median of values, (steps, runs), and a band around all of them."""
    values = values.detach().cpu()
    middle = values.median(1).values
    (line,) = ax.plot(steps, middle, label=name)
    ax.fill_between(
        steps, values.amin(1), values.amax(1), color=line.get_color(), alpha=0.15, linewidth=0
    )


def _label(ax: Axes, quantity: str) -> Axes:
    ax.set(xlabel="evaluations", ylabel=quantity, yscale="log")
    ax.legend(frameon=False, fontsize="small", ncols=2)
    return ax
