"""A lab that runs one attack on one picture, in the page itself or in the kernel behind it."""

import zlib
from collections.abc import Sequence
from threading import Event, Thread

from traitlets import Bytes, Dict, Enum, Float, Int, List, Unicode

from dlgutils import data, javascript
from dlgutils.types import Result
from dlgutils.widgets.base import Widget, as_bytes, front_end, synced
from dlgutils.widgets.kernel import run_attack

# evaluations after which the lab shows any photograph, by weights
ENOUGH = {"default": 100, "wide": 300}
RATES = [k / 10 for k in range(10)]


class Lab(Widget):
    """One attack on one picture, in the page or in the kernel; make it with `lab`.

    What the reader chooses is in its traits. With a kernel, `result` is what the last run of the
    PyTorch engine found.
    """

    _esm = front_end("lab")
    # the engine of the page: a worker's source, compressed (zlib)
    script = synced(Bytes())
    # names, which are the classes too
    photos = synced(List())
    # the photographs, one after the other, compressed
    images = synced(Bytes())
    # names
    attacks = synced(List())
    # empty for a picture of the reader's own
    photo = synced(Unicode())
    label = synced(Unicode())
    weights = synced(Enum(["default", "wide"], "default"))
    # of the dropout, in [0, 0.9]
    rate = synced(Float(0.0))
    # standard deviation, on every number of the gradient
    noise = synced(Float(0.0))
    attack = synced(Unicode())
    # evaluations
    steps = synced(Int(100))
    # evaluations that show a picture, by weights
    enough = synced(Dict(ENOUGH))
    seed = synced(Int(0))
    engine = synced(Enum(["page", "kernel"], "page"))

    def __init__(self, photo: str, *, rate: float, attack: str, weights: str, steps: int):
        self._recipes = {recipe.name: recipe for recipe in javascript.ATTACKS}
        super().__init__(
            script=zlib.compress(javascript.worker_source().encode(), 9),
            photos=list(data.class_names("photos")),
            images=zlib.compress(as_bytes(data.photos().x), 9),
            attacks=list(self._recipes),
            photo=photo,
            label=photo,
            rate=rate,
            attack=attack,
            weights=weights,
            steps=steps,
        )
        self.result: Result | None = None
        self._stop = Event()
        self._thread: Thread | None = None
        self.on_msg(self._on_message)

    def wait(self, seconds: float | None = None) -> None:
        """Block until the run in the kernel is over, or for `seconds` at most; None: for ever."""
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
                self._thread = Thread(target=self._run, args=(message, buffers), daemon=True)
                self._thread.start()

    def _run(self, message: dict, buffers: list[memoryview]) -> None:
        """One run, in a thread of its own."""
        try:
            recipe = self._recipes[message["attack"]]
            self.result = run_attack(recipe, message, buffers, self.send, self._stop)
        except Exception as error:  # nobody would see what a thread raises: send it to the reader
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

    The page itself runs it, in JavaScript generated from PyTorch's graphs
    (`javascript.worker_source`), so it needs no kernel, and the picture never leaves the page. With
    a kernel the reader may choose PyTorch, which gets the gradient, never the picture. The lab
    opens with the choices that the arguments name.

    Args:
        photo: one of `data.class_names("photos")`.
        rate: of the dropout of `models.lenet`, in [0, 0.9], in steps of 0.1.
        attack: the name of one of `javascript.ATTACKS`.
        weights: "default" or "wide", as `models.init_uniform` draws them.
        steps: the evaluations, from 1 to 5000; None: as many as show a picture.

    Raises ValueError for anything that cannot be chosen.
    """
    _check_choice("photo", photo, data.class_names("photos"))
    _check_choice("attack", attack, [recipe.name for recipe in javascript.ATTACKS])
    _check_choice("weights", weights, list(ENOUGH))
    _check_choice("rate", rate, RATES)
    steps = ENOUGH[weights] if steps is None else steps
    if not 1 <= steps <= 5000:
        raise ValueError(f"the lab takes from 1 to 5000 steps, got {steps}; du.invert takes more")
    return Lab(photo, rate=rate, attack=attack, weights=weights, steps=steps)


def _check_choice(what: str, chosen: str | float, there: Sequence[str] | Sequence[float]) -> None:
    if chosen not in there:
        words = ", ".join(map(str, there))
        raise ValueError(f"the lab has no {what} {chosen!r}; choose one of {words}")
