"""The lab's attack in a kernel: PyTorch attacks what the page shared, and the page gets reports."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Event

import torch
from torch import Generator, Tensor, nn

from dlgutils import models
from dlgutils.javascript import page_defenses, page_functions
from dlgutils.matching import frame_schedule, invert
from dlgutils.types import Attack, Comparison, Guess, Result, Shared

Send = Callable[[dict, list[bytes]], None]
"""(message, buffers) -> to the page."""

FRAMES = 24  # of the film in the page
PAUSE = 0.1  # seconds at least between two pictures, except for those of the film


def run_attack(
    recipe: Attack, message: dict, buffers: Sequence[memoryview], send: Send, stop: Event
) -> Result:
    """What the attack on the page's round found; while it runs, the page gets reports.

    Args:
        recipe: the attack; what it would infer, the page has inferred.
        message: the page's, of kind "run": batch, activation, rate, defense, knows, steps, seed,
            names, labels, mask, features.
        buffers: the arrays that the message names.
        send: takes the reports, messages of kind "frame" and one of kind "done".
        stop: ends the attack early once it is set.

    Raises ValueError for what the engine refuses.
    """
    activation = page_functions.ACTIVATIONS[message["activation"]]
    model = models.lenet(dropout=message["rate"], activation=activation)
    guess = read_guess(message)
    shared = read_shared(model, message, buffers)
    attack = replace(page_defenses.knowing(recipe, shared), infer=lambda *_: guess)
    if recipe.compare:
        attack = replace(attack, compare=comparison_as_read(recipe.compare, message))
    film = frame_schedule(message["steps"], FRAMES)
    report = Report(send, message["run"], film)
    generator = Generator().manual_seed(message["seed"])

    def watch(evaluation: int, best_loss: Tensor, x: Tensor) -> bool:
        report.show(evaluation, float(best_loss), x[0])
        return stop.is_set()

    result = invert(
        page_functions.attackers_copy(model, recipe),
        shared,
        attack,
        generator,
        steps=message["steps"],
        watch=watch,
    )
    report.send("done", result.loss.shape[1], float(result.best_loss), result.x[0])
    return result


def comparison_as_read(compare: Comparison, message: dict) -> Comparison:
    """The same comparison with the features that the page has read, the classifier's inputs."""
    features = {"fc.weight": torch.tensor(message["features"])[None]}
    return compare._replace(of_round=lambda *_: features)


class Report:
    """The messages about one run that the page gets while it goes on."""

    def __init__(self, send: Send, run: float, film: set[int]):
        self.to_page = send
        self.run = run
        self.film = film
        self.began = self.shown = time.monotonic()

    def show(self, evaluation: int, loss: float, x: Tensor) -> None:
        """Send a picture if it belongs to the film, or if the page has waited long enough."""
        waited = time.monotonic() - self.shown
        if evaluation in self.film or waited > PAUSE:
            self.shown = time.monotonic()
            self.send("frame", evaluation, loss, x)

    def send(self, kind: str, evaluation: int, loss: float, x: Tensor) -> None:
        """Send a message with a picture.

        Args:
            kind: "frame" or "done".
            evaluation: how many there were so far.
            loss: the lowest matching loss so far.
            x: the pictures, (batch, channels, height, width).
        """
        message = {
            "kind": kind,
            "run": self.run,
            "evaluation": evaluation,
            "loss": loss if math.isfinite(loss) else None,  # JSON has no infinity
            "seconds": time.monotonic() - self.began,
            "filmed": evaluation in self.film,
        }
        self.to_page(message, [x.contiguous().numpy().tobytes()])


def read_shared(model: nn.Module, message: dict, buffers: Sequence[memoryview]) -> Shared:
    """A round as the page made it.

    message: its "names" are "weights.fc.bias", "gradient.fc.bias" and so on, of the flat float32
    arrays in `buffers`; its "batch" says how many images the client has. Its protocol has the
    defence of the message if the attacker "knows" it, and otherwise `defenses.unknown`.
    """
    tensors = [torch.frombuffer(bytearray(buffer), dtype=torch.float32) for buffer in buffers]
    flat = dict(zip(message["names"], tensors, strict=True))
    weights, gradient = {}, {}
    for name, parameter in model.named_parameters():
        weights[name] = flat[f"weights.{name}"].view(parameter.shape)
        gradient[name] = flat[f"gradient.{name}"].view(parameter.shape)
    shared = Shared(weights, gradient, (message["batch"], *model.x_shape))
    defense = page_defenses.DEFENSES.get(message["defense"])
    return page_defenses.seen(shared, defense, message["knows"]) if defense else shared


def read_guess(message: dict) -> Guess:
    """What the page has read off the gradient: labels, masks, both or neither."""
    guess = Guess()
    if message.get("labels") is not None:
        guess = guess._replace(y=torch.tensor(message["labels"]))
    if message.get("mask") is not None:
        mask = torch.tensor(message["mask"]).view(message["batch"], -1)
        guess = guess._replace(masks={page_functions.MASK: mask})
    return guess
