"""What a film shows of each result: pictures, their errors, and both in words."""

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from dlgutils import metrics
from dlgutils.types import Result
from dlgutils.widgets.base import as_bytes


class Scene(NamedTuple):
    """One image of one run, as the page gets it; the lists have one entry for each frame."""

    captions: list[str]
    frames: bytes  # of all pictures, one after the other, compressed (zlib)
    evaluations: list[int]  # how many came before the picture
    errors: list[float | None]  # None where there is none that is finite


def build_scene(name: str, result: Result, target: Tensor | None, *, run: int, image: int) -> Scene:
    """The scene of one image of one run.

    Args:
        name: of the scene, with which its captions begin.
        result: what an attack found.
        target: the client's image, (channels, height, width), for the errors; None: the errors are
            the lowest matching losses so far.
        run: which run.
        image: which image of its batch.
    """
    pictures = result.frames[:, run, image]
    steps = result.frame_steps.tolist()
    losses = _losses(result, run)
    errors = None if target is None else metrics.rmse(pictures, target).tolist()
    shown = errors or [None] * len(steps)
    rows = zip(steps, losses, shown, strict=True)
    return Scene(
        captions=[_caption(name, *row) for row in rows],
        frames=zlib.compress(as_bytes(pictures), 9),
        evaluations=steps,
        errors=[_finite(error) for error in errors or losses],
    )


def check_scenes(
    results: Mapping[tuple[str, ...], Result], axes: Sequence[str], *, run: int, image: int
) -> None:
    """Raises ValueError for scenes that do not make one film, and for a picture that is not there.

    Args:
        results: by the names of their scenes, one word for each axis.
        axes: the names of the axes.
        run: which run the film shows of each.
        image: which image of its batch.
    """
    if not results:
        raise ValueError(
            "a film needs a result, got none; pass what invert returns, or several by name"
        )
    for scene in results:
        if len(scene) != len(axes):
            wanted = tuple(axes)
            raise ValueError(f"a scene has one word for each of the axes {wanted}, got {scene}")
    shapes = {", ".join(name): tuple(result.x.shape[2:]) for name, result in results.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"one film shows images of one shape, got {shapes}; make a film of each")
    for name, result in results.items():
        runs, images = result.x.shape[:2]
        _check_index(", ".join(name), "run", run, runs)
        _check_index(", ".join(name), "image", image, images)


def _check_index(name: str, what: str, index: int, length: int) -> None:
    if not -length <= index < length:
        raise ValueError(
            f"there is no {what} {index} in {name!r}, which has {what}s 0 … {length - 1}"
        )


def _losses(result: Result, run: int) -> list[float | None]:
    """The lowest matching loss at each frame; None at the start, before any was computed."""
    best = result.best_loss_so_far[run]
    return [float(best[k - 1]) if k else None for k in result.frame_steps.tolist()]


def _caption(name: str, evaluation: int, loss: float | None, rmse: float | None) -> str:
    parts = [name, f"{evaluation} evaluations"]
    if loss is not None:
        parts.append(f"matching loss {loss:.1e}")
    if rmse is not None:
        parts.append(f"RMSE {rmse:.3f}")
    return ", ".join(parts)


def _finite(error: float | None) -> float | None:
    """The error, or None if it is not finite: JSON has no infinity."""
    return error if error is not None and math.isfinite(error) else None
