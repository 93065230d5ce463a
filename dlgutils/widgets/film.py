"""A film of results: pictures, the curve of their errors, and a slider, without a kernel."""

from collections.abc import Mapping, Sequence

from torch import Tensor
from traitlets import Bool, Bytes, Int, List, Unicode

from dlgutils.types import Result
from dlgutils.widgets.base import Widget, as_bytes, front_end, synced
from dlgutils.widgets.scenes import build_scene, check_scenes


class Film(Widget):
    """Selectors of the scene, its pictures, their errors, and a slider; make it with `film`."""

    _esm = front_end("film")
    # [height, width, channels] of every picture
    shape = synced(List())
    # the client's image, shown beside the reconstruction; empty for none
    truth = synced(Bytes())
    # names of what the scenes differ in, one selector each
    axes = synced(List())
    # [scene][axis]: its place on each axis, in words
    scenes = synced(List())
    # [scene][frame]: what the picture shows, in words
    captions = synced(List())
    # [scene]: bytes of its pictures, one after the other, compressed (zlib)
    frames = synced(List())
    # [scene][frame]: how many evaluations came before the picture
    evaluations = synced(List())
    # what is counted there, if not evaluations
    unit = synced(Unicode("evaluations"))
    # what the curve shows: "RMSE" or "matching loss"
    measure = synced(Unicode())
    # [scene][frame]: that number; None where there is none that is finite
    errors = synced(List())
    # by itself, once, when it comes into view
    play = synced(Bool(False))
    scene = synced(Int(0))
    frame = synced(Int(0))

    def __repr__(self) -> str:
        """What is printed where widgets cannot be shown."""
        captions = self.captions[self.scene]
        caption = captions[min(self.frame, len(captions) - 1)]
        return f"Film of {len(self.scenes)} scene(s), now at: {caption}"


def film(
    results: Result | Mapping[str | tuple[str, ...], Result],
    truth: Tensor | None = None,
    *,
    axes: Sequence[str] = ("experiment",),
    run: int = 0,
    image: int = 0,
    play: bool = False,
) -> Film:
    """The film of one run of one or several results, to scrub through, with or without a kernel.

    A frame of a 32×32 image weighs 2 to 4 KB in the page, one of mere noise or grey less; about 100
    frames keep the page light.

    Args:
        results: one result, or several by name, between which a selector switches; or by names on
            several `axes`, with a selector each, such as {("grey", "default"): ...,
            ("noise", "wide"): ...} with axes=("start", "weights").
        truth: the client's images, (batch, ...) or (runs, batch, ...), for the picture on the right
            and for the curve, which shows the RMSE of each picture; without them, the lowest
            matching loss so far.
        axes: the names of the selectors.
        run: which run of each result.
        image: which image of its batch.
        play: open at the first frame and play once when the film comes into view, unless the
            reader's system asks for less motion; otherwise it opens at the last frame.

    Raises ValueError for no results, results of images of different shapes, names that are not one
    word for each axis, and a run or image that is not there.
    """
    named = {results.attack: results} if isinstance(results, Result) else results
    by_axis = {_on_axes(name): result for name, result in named.items()}
    check_scenes(by_axis, axes, run=run, image=image)
    target = _target(truth, run, image)
    scenes = [
        build_scene(", ".join(name), result, target, run=run, image=image)
        for name, result in by_axis.items()
    ]
    *_, channels, height, width = next(iter(by_axis.values())).frames.shape
    return Film(
        axes=list(axes),
        scenes=[list(name) for name in by_axis],
        captions=[scene.captions for scene in scenes],
        frames=[scene.frames for scene in scenes],
        evaluations=[scene.evaluations for scene in scenes],
        measure="matching loss" if target is None else "RMSE",
        errors=[scene.errors for scene in scenes],
        shape=[height, width, channels],
        truth=b"" if target is None else as_bytes(target[None]),
        play=play,
        frame=0 if play else len(scenes[0].captions) - 1,
    )


def _on_axes(name: str | tuple[str, ...]) -> tuple[str, ...]:
    """The name of a scene as one word for each axis."""
    return (name,) if isinstance(name, str) else tuple(name)


def _target(truth: Tensor | None, run: int, image: int) -> Tensor | None:
    """The client's image that a film shows, (channels, height, width)."""
    if truth is None:
        return None
    batch = truth[run] if truth.ndim == 5 else truth
    return batch[image]
