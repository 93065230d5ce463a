"""Things to touch: a film of stored results, alive without a kernel, and a panel that reruns the attack with one."""

import math
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import anywidget
import torch
import traitlets
from torch import Tensor

from dlgutils import attacks, client, data, inversion, metrics, models
from dlgutils.types import Attack, Result

_WEB = Path(__file__).parent / "web"


def _front_end(name: str) -> str:
    """One module for the browser: what all widgets share, then this one's own."""
    return "".join((_WEB / f"{part}.js").read_text(encoding="utf-8") for part in ("common", name))


class _Widget(anywidget.AnyWidget):
    """The common ground: one look, pictures as bytes, (height, width, channels) each."""

    _css = _WEB / "widgets.css"
    shape = traitlets.List().tag(sync=True)  # [height, width, channels] of every picture
    truth = traitlets.Bytes().tag(sync=True)  # the client's image, shown beside the reconstruction; empty for none


class Film(_Widget):
    """Selectors of the scene, its pictures, the curve of their errors and a slider over them; make it with `film`."""

    _esm = _front_end("film")
    axes = traitlets.List().tag(sync=True)  # names of what the scenes differ in, one selector each
    scenes = traitlets.List().tag(sync=True)  # [scene][axis]: its place on each axis, in words
    captions = traitlets.List().tag(sync=True)  # [scene][frame]: what the picture shows, in words
    frames = traitlets.List().tag(sync=True)  # [scene]: bytes of its pictures, one after the other, compressed (zlib)
    evaluations = traitlets.List().tag(sync=True)  # [scene][frame]: how many came before the picture
    measure = traitlets.Unicode().tag(sync=True)  # what the curve shows: "RMSE" or "matching loss"
    errors = traitlets.List().tag(sync=True)  # [scene][frame]: that number; None where there is none that is finite
    play = traitlets.Bool(False).tag(sync=True)  # by itself, once, when it comes into view
    scene = traitlets.Int(0).tag(sync=True)
    frame = traitlets.Int(0).tag(sync=True)

    def __repr__(self) -> str:
        """What is printed where widgets cannot be shown."""
        captions = self.captions[self.scene]
        return f"Film of {len(self.scenes)} scene(s), now at: {captions[min(self.frame, len(captions) - 1)]}"


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

    results: one result, or several by name, between which a selector switches; or by names on several `axes`, with a
    selector each, e.g. {("grey", "default"): ..., ("noise", "wide"): ...} with axes=("start", "weights").
    truth: the client's images, (batch, ...) or (runs, batch, ...), for the picture on the right and for the curve, which
    shows the RMSE of each picture; without it, the lowest matching loss so far.
    play: open at the first frame and play once when the film comes into view, unless the reader's system asks for less
    motion; otherwise it opens at the last frame.
    A frame of a 32×32 image weighs 2 to 4 KB in the page, one of mere noise or grey less; about 100 keep it light.
    Raises ValueError for no results, results of images of different shapes, names that are not one word for each axis,
    and a run or image that is not there.
    """
    if isinstance(results, Result):
        results = {results.attack: results}
    scenes = {(name,) if isinstance(name, str) else tuple(name): result for name, result in results.items()}
    _check_scenes(scenes, axes, run=run, image=image)
    target = None if truth is None else (truth[run] if truth.ndim == 5 else truth)[image]
    pictures = [r.frames[:, run, image] for r in scenes.values()]
    steps = [r.frame_steps.tolist() for r in scenes.values()]
    losses = [_losses(r, run) for r in scenes.values()]
    scores = losses if target is None else [metrics.rmse(p, target).tolist() for p in pictures]
    captions = [
        [_caption(", ".join(scene), k, loss, None if target is None else score) for k, loss, score in zip(*row, strict=True)]
        for scene, *row in zip(scenes, steps, losses, scores, strict=True)
    ]
    return Film(
        axes=list(axes),
        scenes=[list(scene) for scene in scenes],
        captions=captions,
        frames=[zlib.compress(_bytes(p), 9) for p in pictures],
        evaluations=steps,
        measure="matching loss" if target is None else "RMSE",
        errors=[[score if score is not None and math.isfinite(score) else None for score in row] for row in scores],
        shape=_shape(pictures[0]),
        truth=b"" if target is None else _bytes(target[None]),
        play=play,
        frame=0 if play else len(captions[0]) - 1,
    )


class Panel(_Widget):
    """A control panel that really reruns an attack in the kernel; make it with `panel`.

    `start` begins a run in a thread, `stop` ends it early, `wait` blocks until it is over; `result` is the last one.
    """

    _esm = _front_end("panel")
    photos = traitlets.List().tag(sync=True)
    attacks = traitlets.List().tag(sync=True)  # names
    photo = traitlets.Unicode().tag(sync=True)
    attack = traitlets.Unicode().tag(sync=True)
    rate = traitlets.Float(0.0).tag(sync=True)  # of the dropout, in [0, 0.9]
    steps = traitlets.Int(100).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    running = traitlets.Bool(False).tag(sync=True)
    evaluation = traitlets.Int(0).tag(sync=True)
    picture = traitlets.Bytes().tag(sync=True)
    caption = traitlets.Unicode("Choose, then press Run.").tag(sync=True)

    def __init__(self, recipes: Sequence[Attack]):
        names = list(data.class_names("photos"))
        super().__init__(
            photos=names, attacks=[a.name for a in recipes], photo="cat", attack=recipes[0].name, shape=[32, 32, 3]
        )
        self.result: Result | None = None
        self._recipes = {a.name: a for a in recipes}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._show_truth()
        self.observe(lambda _: self._show_truth(), "photo")
        self.on_msg(self._on_message)

    def start(self) -> None:
        """Run the chosen attack on the chosen photograph, unless one is running."""
        if not self.running:
            self.running = True
            self._stop.clear()
            self._thread = threading.Thread(target=self._attack, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ask the running attack to stop after its current evaluation."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> None:
        """Block until the attack is over, or for so many seconds."""
        if self._thread:
            self._thread.join(seconds)

    def _attack(self) -> None:
        try:
            generator = torch.Generator().manual_seed(self.seed)
            model = models.init_default(models.lenet(dropout=self.rate), generator)
            batch = data.photos(self.photo)
            shared = client.share(model, batch, generator)
            recipe, shown = self._recipes[self.attack], 0.0

            def watch(evaluation: int, lowest: Tensor, x: Tensor) -> bool:
                nonlocal shown
                if time.monotonic() - shown > 0.1:
                    shown = time.monotonic()
                    self._show(recipe.name, evaluation, float(lowest), x[0], batch.x)
                return self._stop.is_set()

            self.result = inversion.invert(model, shared, recipe, generator, steps=self.steps, watch=watch)
            self._show(recipe.name, self.result.loss.shape[1], float(self.result.lowest), self.result.x[0], batch.x)
        except Exception as error:  # a thread has nobody to raise to: tell the reader
            self.caption = f"This attack cannot run: {error}"
        finally:
            self.running = False

    def _show(self, name: str, evaluation: int, loss: float, x: Tensor, truth: Tensor) -> None:
        with self.hold_sync():
            self.evaluation = evaluation
            self.picture = _bytes(x)
            self.caption = _caption(name, evaluation, loss, float(metrics.rmse(x, truth)))

    def _show_truth(self) -> None:
        self.truth = _bytes(data.photos(self.photo).x)

    def _on_message(self, _: object, message: str, __: object) -> None:
        {"run": self.start, "stop": self.stop, "hello": lambda: self.send("kernel")}[message]()


def panel(recipes: Sequence[Attack] = (attacks.idlg, attacks.dlg, attacks.idlg_fresh_masks)) -> Panel:
    """Photograph, dropout rate, attack, evaluations and seed to choose; Run, Stop, progress, and the picture as it comes.

    It attacks `models.lenet` with PyTorch's default initialisation, in the kernel: one or two seconds for 100
    evaluations on one CPU thread. Without a kernel it says so and stays still.
    """
    return Panel(recipes)


def _check_scenes(results: Mapping[tuple[str, ...], Result], axes: Sequence[str], *, run: int, image: int) -> None:
    if not results:
        raise ValueError("a film needs a result, got none; pass one of invert, or several by name")
    for scene in results:
        if len(scene) != len(axes):
            raise ValueError(f"a scene has one word for each of the axes {tuple(axes)}, got {scene}")
    shapes = {", ".join(name): tuple(result.x.shape[2:]) for name, result in results.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"one film shows images of one shape, got {shapes}; make a film of each")
    for name, result in results.items():
        for what, index, there in zip(("run", "image"), (run, image), result.x.shape, strict=False):
            if not -there <= index < there:
                raise ValueError(f"there is no {what} {index} in {', '.join(name)!r}, which has {what}s 0 … {there - 1}")


def _losses(result: Result, run: int) -> list[float | None]:
    """The lowest matching loss at each frame; None at the start, before any was computed."""
    lowest = result.lowest_so_far[run]
    return [float(lowest[k - 1]) if k else None for k in result.frame_steps.tolist()]


def _caption(name: str, evaluation: int, loss: float | None, rmse: float | None) -> str:
    parts = [f"{name}, {evaluation} evaluations"]
    parts += [] if loss is None else [f"matching loss {loss:.1e}"]
    parts += [] if rmse is None else [f"RMSE {rmse:.3f}"]
    return ", ".join(parts)


def _bytes(x: Tensor) -> bytes:
    """Pictures (n, channels, height, width), clipped to [0, 1], as bytes in the order n, height, width, channels."""
    return (x.detach().cpu().nan_to_num().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy().tobytes()


def _shape(x: Tensor) -> list[int]:
    return [x.shape[-2], x.shape[-1], x.shape[-3]]
