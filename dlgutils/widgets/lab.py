"""A lab that attacks pictures by their gradient, in the page itself or in the kernel behind it."""

import zlib
from collections.abc import Sequence
from threading import Event, Thread

import torch
from traitlets import Bool, Bytes, Dict, Enum, Float, Int, List, Unicode

from dlgutils import data, javascript
from dlgutils.javascript.page_defenses import DEFENSES
from dlgutils.types import Result
from dlgutils.widgets.base import Widget, as_bytes, front_end, synced
from dlgutils.widgets.kernel import run_attack
from dlgutils.widgets.trained import as_numbers, trained_networks

ENOUGH = {"default": 100, "wide": 300, "trained": 300}
"""Evaluations that show what an attack finds, by weights."""
RATES = [k / 10 for k in range(10)]
ACTIVATIONS = ["sigmoid", "relu"]
BATCHES = [1, 2, 4]
UNDEFENDED = "none"


class Lab(Widget):
    """Attacks on pictures, in the page or in the kernel; make it with `lab`.

    What the reader chooses is in its traits. With a kernel, `result` is what the last run of the
    PyTorch engine found.
    """

    _esm = front_end("lab")
    # the engine of the page: a worker's source, compressed (zlib)
    script = synced(Bytes())
    # names of twelve photographs, the classes of an untrained network, then of twelve fruits, the
    # classes of a trained one
    photos = synced(List())
    # all of them, one after the other, compressed
    images = synced(Bytes())
    # weights of the trained networks in the order of ACTIVATIONS, float32, compressed
    trained = synced(Bytes())
    # names
    attacks = synced(List())
    # empty for a picture of the reader's own
    photo = synced(Unicode())
    label = synced(Unicode())
    # images that the client has: the photograph, and those that follow it in the list
    batch = synced(Enum(BATCHES, 1))
    activation = synced(Enum(ACTIVATIONS, "sigmoid"))
    weights = synced(Enum(list(ENOUGH), "default"))
    # of the dropout, in [0, 0.9]
    rate = synced(Float(0.0))
    # names, of which the first stands for no defence
    defenses = synced(List([UNDEFENDED, *DEFENSES]))
    defense = synced(Unicode(UNDEFENDED))
    # whether the attacker knows the defence
    knows = synced(Bool(False))
    attack = synced(Unicode())
    # evaluations
    steps = synced(Int(100))
    # evaluations that show what an attack finds, by weights
    enough = synced(Dict(ENOUGH))
    seed = synced(Int(0))
    engine = synced(Enum(["page", "kernel"], "page"))

    def __init__(self, **chosen: object):
        self._recipes = {recipe.name: recipe for recipe in javascript.ATTACKS}
        networks = trained_networks()
        weights = b"".join(as_numbers(networks.weights[kind]) for kind in ACTIVATIONS)
        super().__init__(
            script=zlib.compress(javascript.worker_source().encode(), 9),
            photos=list(picture_names()),
            images=zlib.compress(as_bytes(torch.cat([data.photos().x, networks.images])), 9),
            trained=zlib.compress(weights, 9),
            attacks=list(self._recipes),
            **chosen,
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


def picture_names() -> tuple[str, ...]:
    """The twelve photographs of `data.photos`, and twelve fruits that trained networks know."""
    return (*data.class_names("photos"), *trained_networks().names)


def lab(
    photo: str = "cat",
    *,
    batch: int = 1,
    activation: str = "sigmoid",
    weights: str = "default",
    rate: float = 0.0,
    defense: str = UNDEFENDED,
    knows: bool = False,
    attack: str = "iDLG",
    steps: int | None = None,
) -> Lab:
    """A laboratory for attacks on pictures: photographs, the reader's own picture, or a drawing.

    The page itself runs it, in JavaScript generated from PyTorch's graphs
    (`javascript.worker_source`), so it needs no kernel, and the picture never leaves the page. With
    a kernel the reader may choose PyTorch, which gets the gradient, never the picture. The lab
    opens with the choices that the arguments name. The attacker of a ReLU network searches with a
    smooth copy of it (`models.smooth_relu`), unless features are matched: that attack takes the
    network as it is, one picture, and no defence into account.

    Args:
        photo: one of `data.class_names("photos")`, or a fruit that trained networks know.
        batch: how many images the client has, 1, 2 or 4: the photograph and the next ones.
        activation: "sigmoid" or "relu".
        weights: "default" or "wide", as `models.init_uniform` draws them, or "trained", on fruits.
        rate: of the dropout of `models.lenet`, in [0, 0.9], in steps of 0.1.
        defense: of the gradient, one of `page_defenses.DEFENSES`, or "none".
        knows: whether the attacker knows the defence.
        attack: the name of one of `javascript.ATTACKS`.
        steps: the evaluations, from 1 to 5000; None: as many as show what the attack finds.

    Raises ValueError for anything that cannot be chosen.
    """
    names = picture_names()
    _check_choice("photo", photo, names)
    _check_choice("batch", batch, BATCHES)
    _check_choice("activation", activation, ACTIVATIONS)
    _check_choice("weights", weights, list(ENOUGH))
    _check_choice("rate", rate, RATES)
    _check_choice("defense", defense, [UNDEFENDED, *DEFENSES])
    if not isinstance(knows, bool):
        raise ValueError(f"knows is True or False, got {knows!r}; True if the attacker does")
    _check_choice("attack", attack, [recipe.name for recipe in javascript.ATTACKS])
    steps = ENOUGH[weights] if steps is None else steps
    if not 1 <= steps <= 5000:
        raise ValueError(f"the lab takes from 1 to 5000 steps, got {steps}; du.invert takes more")
    place = names.index(photo) % 12 + 12 * (weights == "trained")
    return Lab(
        photo=photo,
        label=names[place],
        batch=batch,
        activation=activation,
        weights=weights,
        rate=rate,
        defense=defense,
        knows=knows,
        attack=attack,
        steps=steps,
    )


def _check_choice(what: str, chosen: str | float, there: Sequence[str] | Sequence[float]) -> None:
    if chosen not in there:
        words = ", ".join(map(str, there))
        raise ValueError(f"the lab has no {what} {chosen!r}; choose one of {words}")
