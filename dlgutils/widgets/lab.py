"""Things to touch, alive without a kernel: films of stored results, questions, and a lab that runs an attack in the page."""

import math
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import anywidget
import torch
import traitlets
from torch import Tensor, nn

from dlgutils import data, javascript, metrics, models
from dlgutils.matching import frame_schedule, invert
from dlgutils.types import Guess, Result, Shared

_WEB = Path(__file__).parent / "static"
_ENOUGH = {
    "default": 100,
    "wide": 300,
}  # evaluations after which the lab shows any photograph, by weights
_RATES = [k / 10 for k in range(10)]


def _front_end(*parts: str) -> str:
    """One module for the browser, of several files, so that it needs no address to import from."""
    return "\n".join((_WEB / f"{part}.js").read_text(encoding="utf-8") for part in parts)


class _Widget(anywidget.AnyWidget):
    """The common ground: one look."""

    _css = _WEB / "widgets.css"


class Film(_Widget):
    """Selectors of the scene, its pictures, the curve of their errors and a slider over them; make it with `film`."""

    _esm = _front_end("controls", "curve", "film")
    shape = traitlets.List().tag(sync=True)  # [height, width, channels] of every picture
    truth = traitlets.Bytes().tag(
        sync=True
    )  # the client's image, shown beside the reconstruction; empty for none
    axes = traitlets.List().tag(sync=True)  # names of what the scenes differ in, one selector each
    scenes = traitlets.List().tag(sync=True)  # [scene][axis]: its place on each axis, in words
    captions = traitlets.List().tag(sync=True)  # [scene][frame]: what the picture shows, in words
    frames = traitlets.List().tag(
        sync=True
    )  # [scene]: bytes of its pictures, one after the other, compressed (zlib)
    evaluations = traitlets.List().tag(
        sync=True
    )  # [scene][frame]: how many came before the picture
    measure = traitlets.Unicode().tag(sync=True)  # what the curve shows: "RMSE" or "matching loss"
    errors = traitlets.List().tag(
        sync=True
    )  # [scene][frame]: that number; None where there is none that is finite
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
    scenes = {
        (name,) if isinstance(name, str) else tuple(name): result
        for name, result in results.items()
    }
    _check_scenes(scenes, axes, run=run, image=image)
    target = None if truth is None else (truth[run] if truth.ndim == 5 else truth)[image]
    pictures = [r.frames[:, run, image] for r in scenes.values()]
    steps = [r.frame_steps.tolist() for r in scenes.values()]
    losses = [_losses(r, run) for r in scenes.values()]
    scores = losses if target is None else [metrics.rmse(p, target).tolist() for p in pictures]
    captions = [
        [
            _caption(", ".join(scene), k, loss, None if target is None else score)
            for k, loss, score in zip(*row, strict=True)
        ]
        for scene, *row in zip(scenes, steps, losses, scores, strict=True)
    ]
    return Film(
        axes=list(axes),
        scenes=[list(scene) for scene in scenes],
        captions=captions,
        frames=[zlib.compress(_bytes(p), 9) for p in pictures],
        evaluations=steps,
        measure="matching loss" if target is None else "RMSE",
        errors=[
            [score if score is not None and math.isfinite(score) else None for score in row]
            for row in scores
        ],
        shape=_shape(pictures[0]),
        truth=b"" if target is None else _bytes(target[None]),
        play=play,
        frame=0 if play else len(captions[0]) - 1,
    )


class Question(_Widget):
    """A question with several answers, each of them explained; make it with `question`."""

    _esm = _front_end("controls", "question")
    text = traitlets.Unicode().tag(sync=True)
    answers = traitlets.List().tag(sync=True)  # [answer]: the answer, and why it is right or wrong
    right = traitlets.Int(0).tag(sync=True)  # the place of the right one


def question(text: str, answers: Mapping[str, str], *, right: str) -> Question:
    """A question to check oneself with: choose one of the answers, and read why it is right or wrong.

    answers: the reasons by answer, in the order in which they are shown. `Backticks` mark code, in all texts. It works
    without a kernel, as often as one likes; nothing is counted or kept.
    Raises ValueError for fewer than two answers, and for a right one that is not among them.
    """
    if len(answers) < 2:
        raise ValueError(
            f"a question needs at least two answers to choose from, got {list(answers)}"
        )
    if right not in answers:
        raise ValueError(f"the right answer is one of {list(answers)}, got {right!r}")
    return Question(
        text=text,
        answers=[list(pair) for pair in answers.items()],
        right=list(answers).index(right),
    )


class Lab(_Widget):
    """One attack on one picture, in the page or in the kernel; make it with `lab`.

    What the reader chooses is in its traits. With a kernel, `result` is what the last run of the PyTorch engine found.
    """

    _esm = _front_end("controls", "curve", "picture_input", "apng", "progress", "lab")
    script = traitlets.Bytes().tag(
        sync=True
    )  # the engine of the page: a worker's source, compressed (zlib)
    photos = traitlets.List().tag(sync=True)  # names, which are the classes too
    images = traitlets.Bytes().tag(sync=True)  # the photographs, one after the other, compressed
    attacks = traitlets.List().tag(sync=True)  # names
    photo = traitlets.Unicode().tag(sync=True)  # empty for a picture of the reader's own
    label = traitlets.Unicode().tag(sync=True)
    weights = traitlets.Enum(["default", "wide"], "default").tag(sync=True)
    rate = traitlets.Float(0.0).tag(sync=True)  # of the dropout, in [0, 0.9]
    noise = traitlets.Float(0.0).tag(
        sync=True
    )  # standard deviation, on every number of the gradient
    attack = traitlets.Unicode().tag(sync=True)
    steps = traitlets.Int(100).tag(sync=True)  # evaluations
    enough = traitlets.Dict().tag(sync=True)  # evaluations that show a picture, by weights
    seed = traitlets.Int(0).tag(sync=True)
    engine = traitlets.Enum(["page", "kernel"], "page").tag(sync=True)

    def __init__(self, **chosen: object):
        self._recipes = {attack.name: attack for attack in javascript.ATTACKS}
        names = list(data.class_names("photos"))
        super().__init__(
            script=zlib.compress(javascript.worker_source().encode(), 9),
            photos=names,
            images=zlib.compress(_bytes(data.photos().x), 9),
            attacks=list(self._recipes),
            enough=_ENOUGH,
            **chosen,
        )
        self.result: Result | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.on_msg(self._on_message)

    def wait(self, seconds: float | None = None) -> None:
        """Block until the run in the kernel is over, or for so many seconds."""
        if self._thread:
            self._thread.join(seconds)

    def _on_message(self, _: object, message: dict, buffers: list[memoryview]) -> None:
        match message["kind"]:
            case "hello":
                self.send({"kind": "kernel"})
            case "stop":
                self._stop.set()
            case "run":
                self._stop.set()
                self.wait()
                self._stop.clear()
                self._thread = threading.Thread(
                    target=self._attack, args=(message, buffers), daemon=True
                )
                self._thread.start()

    def _attack(self, message: dict, buffers: list[memoryview]) -> None:
        """Attack what the page shared, with what it has read, and tell it how that goes."""
        began = shown = time.monotonic()
        wanted = frame_schedule(message["steps"], 24)

        def tell(kind: str, evaluation: int, loss: float, x: Tensor, **more: object) -> None:
            told = {"kind": kind, "run": message["run"], "evaluation": evaluation, **more}
            told["loss"] = loss if math.isfinite(loss) else None  # JSON has no infinity
            self.send(
                {**told, "seconds": time.monotonic() - began}, [x.contiguous().numpy().tobytes()]
            )

        def watch(evaluation: int, lowest: Tensor, x: Tensor) -> bool:
            nonlocal shown
            filmed = evaluation in wanted
            if filmed or time.monotonic() - shown > 0.1:
                shown = time.monotonic()
                tell("frame", evaluation, float(lowest), x[0], filmed=filmed)
            return self._stop.is_set()

        try:
            model = models.lenet(dropout=message["rate"])
            recipe = replace(
                self._recipes[message["attack"]], infer=lambda *_: _read_by_page(message)
            )
            shared = _shared_by_page(model, message["names"], buffers)
            generator = torch.Generator().manual_seed(message["seed"])
            self.result = invert(
                model, shared, recipe, generator, steps=message["steps"], watch=watch
            )
            tell("done", self.result.loss.shape[1], float(self.result.best_loss), self.result.x[0])
        except Exception as error:  # a thread has nobody to raise to: tell the reader
            self.send({"kind": "failed", "run": message["run"], "message": str(error)})


def lab(
    photo: str = "cat",
    *,
    rate: float = 0.0,
    attack: str = "iDLG",
    weights: str = "default",
    steps: int | None = None,
) -> Lab:
    """A laboratory for one attack on one picture: a photograph, the reader's own, or a drawing.

    The page itself runs it, in JavaScript generated from PyTorch's graphs (`javascript.worker_source`), so it needs no kernel, and the
    picture never leaves the page. With a kernel the reader may choose PyTorch, which gets the gradient, never the picture.
    The arguments are what is chosen first: photo from `data.class_names("photos")`, the rate of `models.lenet`'s dropout in
    [0, 0.9] in steps of 0.1, attack the name of one of `javascript.ATTACKS`, weights "default" or "wide" as in
    `models.init_uniform`, steps the evaluations, from 1 to 5000; None: as many as show a picture.
    Raises ValueError for what there is not to choose.
    """
    _check_choice("photo", photo, data.class_names("photos"))
    _check_choice("attack", attack, [recipe.name for recipe in javascript.ATTACKS])
    _check_choice("weights", weights, ["default", "wide"])
    steps = _ENOUGH[weights] if steps is None else steps
    _check_choice("rate", rate, _RATES)
    if not 1 <= steps <= 5000:
        raise ValueError(f"the lab takes from 1 to 5000 steps, got {steps}; du.invert takes more")
    return Lab(photo=photo, label=photo, rate=rate, attack=attack, weights=weights, steps=steps)


def _check_choice(what: str, chosen: str | float, there: Sequence[str] | Sequence[float]) -> None:
    if chosen not in there:
        raise ValueError(
            f"the lab has no {what} {chosen!r}; choose one of {', '.join(map(str, there))}"
        )


def _shared_by_page(
    model: nn.Module, names: Sequence[str], buffers: Sequence[memoryview]
) -> Shared:
    """A round as the page made it: arrays "weights.fc.bias", "gradient.fc.bias" and so on, without their shapes."""
    arrays = {
        name: torch.frombuffer(bytearray(buffer), dtype=torch.float32)
        for name, buffer in zip(names, buffers, strict=True)
    }
    shapes = {name: p.shape for name, p in model.named_parameters()}
    weights, gradient = (
        {n: arrays[f"{part}.{n}"].view(s) for n, s in shapes.items()}
        for part in ("weights", "gradient")
    )
    return Shared(weights, gradient, (1, *model.x_shape))


def _read_by_page(message: dict) -> Guess:
    label, mask = message.get("label"), message.get("mask")
    y = None if label is None else torch.tensor([label])
    masks = {} if mask is None else {"dropout.mask": torch.tensor([mask])}
    return Guess(y=y, masks=masks)


def _check_scenes(
    results: Mapping[tuple[str, ...], Result], axes: Sequence[str], *, run: int, image: int
) -> None:
    if not results:
        raise ValueError("a film needs a result, got none; pass one of invert, or several by name")
    for scene in results:
        if len(scene) != len(axes):
            raise ValueError(
                f"a scene has one word for each of the axes {tuple(axes)}, got {scene}"
            )
    shapes = {", ".join(name): tuple(result.x.shape[2:]) for name, result in results.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"one film shows images of one shape, got {shapes}; make a film of each")
    for name, result in results.items():
        for what, index, there in zip(("run", "image"), (run, image), result.x.shape, strict=False):
            if not -there <= index < there:
                raise ValueError(
                    f"there is no {what} {index} in {', '.join(name)!r}, which has {what}s 0 … {there - 1}"
                )


def _losses(result: Result, run: int) -> list[float | None]:
    """The lowest matching loss at each frame; None at the start, before any was computed."""
    lowest = result.best_loss_so_far[run]
    return [float(lowest[k - 1]) if k else None for k in result.frame_steps.tolist()]


def _caption(name: str, evaluation: int, loss: float | None, rmse: float | None) -> str:
    parts = [f"{name}, {evaluation} evaluations"]
    parts += [] if loss is None else [f"matching loss {loss:.1e}"]
    parts += [] if rmse is None else [f"RMSE {rmse:.3f}"]
    return ", ".join(parts)


def _bytes(x: Tensor) -> bytes:
    """Pictures (n, channels, height, width), clipped to [0, 1], as bytes in the order n, height, width, channels."""
    return (
        (x.detach().cpu().nan_to_num().clamp(0, 1) * 255)
        .round()
        .byte()
        .permute(0, 2, 3, 1)
        .numpy()
        .tobytes()
    )


def _shape(x: Tensor) -> list[int]:
    return [x.shape[-2], x.shape[-1], x.shape[-3]]
