"""The nouns of the book: the client's secret, what the server sees, an attack, and its result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from dlgutils.protocol import Protocol

Tensors = Mapping[str, Tensor]
"""Tensors by name: weights, gradients, masks."""


class Batch(NamedTuple):
    """The client's secret: images and labels. Only `metrics` compares a reconstruction with it."""

    x: Tensor  # (batch, channels, height, width) in [0, 1]
    y: Tensor  # (batch,) class ids, int64; or other targets of the client's loss


@dataclass(frozen=True)
class Shared:
    """Everything that the server sees of one round of federated learning, and nothing else."""

    weights: Tensors  # {name: tensor}, as model.named_parameters(), the classifier last
    gradient: Tensors  # or update, in the same units: the same names; of a partial one, some
    x_shape: tuple[int, ...]  # (batch, channels, height, width): public
    protocol: Protocol = field(default_factory=Protocol)  # how the client made its update: public
    sent_as: torch.dtype | None = None  # to which the gradient was rounded; None: its own dtype
    checked: str = field(default="", init=False, compare=False)  # what `consistency.settle` found;
    # "": it is still to be settled, as is every changed copy, for `replace` does not hand this on

    @property
    def precision(self) -> torch.dtype:
        """The dtype whose rounding the numbers of the gradient carry: `sent_as`, or their own."""
        return self.sent_as or self.like.dtype

    @property
    def like(self) -> Tensor:
        """One tensor of the gradient: new tensors take their dtype and device from it."""
        return next(iter(self.gradient.values()))

    @property
    def last_layer(self) -> tuple[str | None, str | None]:
        """The names of the last layer's weight and bias, whatever kind of layer it is.

        A vector at the end is a bias, and the tensor before it the weight; None: it is not there.
        """
        *others, last = self.weights
        if self.weights[last].ndim > 1:
            return last, None
        return (others[-1] if others else None), last

    @property
    def classes(self) -> int:
        """The number of classes: the length of the last layer's bias or weight."""
        weight, bias = self.last_layer
        return len(self.weights[bias or weight])

    @property
    def classifier(self) -> tuple[str, str | None]:
        """The names of the last layer's weight, (classes, features), and of its bias, or None.

        Raises ValueError if the last layer is not linear, or its gradient was not shared.
        """
        weight, bias = self.last_layer
        name = weight or bias
        axes = self.weights[name].ndim
        if axes != 2:
            raise ValueError(
                f"the last layer is not linear: {name} has {axes} axes, the weight of a linear "
                "layer has two (one that is tied to another layer's has its name there, and its "
                "gradient is the sum of both)"
            )
        self.require(name, *([bias] if bias else []))
        return name, bias

    def require(self, *names: str) -> None:
        """Raises ValueError unless the gradients of these tensors are among what was shared."""
        missing = [name for name in names if name not in self.gradient]
        if missing:
            raise ValueError(
                f"the gradient of {', '.join(missing)} was not shared: this partial update has "
                f"{', '.join(self.gradient)}; ask the client for these tensors too"
            )


class Guess(NamedTuple):
    """What an attacker believes about a batch, or a part of it: enough to recompute a gradient."""

    x: Tensor | None = None  # (batch, channels, height, width); None: this part does not say
    y: Tensor | None = None  # (batch,) class ids; floating point: (batch, classes) logits
    masks: Tensors = MappingProxyType({})  # {name: (batch, *features)}; a missing one is all ones


class Optimizer(NamedTuple):
    """A way to minimise many independent functions at once, one evaluation of each per tick.

    `init` turns the first guess, (runs, n), into a state. `update` takes the values, (runs,), and
    the slopes, (runs, n), at `state.trial` and returns the next state. A state has at least `z`,
    the current point, `trial`, the point to evaluate next, both (runs, n), and `alive`, (runs,)
    bool: a run that is not alive is left as it is, and may be taken out. So every tensor in a
    state has the runs as its first axis, in tuples as deep as you like, and no run may look at
    another.

    `name` and `settings` say which method it is, for those who write the method a second time: the
    page's JavaScript takes an optimiser only if it has the method with these settings.
    """

    name: str  # of the method: "adam"
    init: Callable[[Tensor], Any]
    update: Callable[[Any, Tensor, Tensor], Any]
    settings: Mapping[str, float | bool | tuple | None] = MappingProxyType({})  # {"lr": 0.1, …}

    def __hash__(self) -> int:
        """The hash of name and functions, which follow from the settings: a mapping has no hash."""
        return hash((self.name, self.init, self.update))

    def __deepcopy__(self, _: dict) -> "Optimizer":
        """Itself: nothing in it changes."""
        return self


class Transform(NamedTuple):
    """Unknowns instead of pixels: `encode` turns images into them, `decode` turns them back.

    Each undoes the other; both take and return (batch, channels, height, width). The matching loss
    is the same function of the image, but an optimiser that starts at the same image takes another
    path.
    """

    name: str
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]


class Comparison(NamedTuple):
    """What of a guess is compared with what of a round: both return tensors by name.

    Those of the round are compared; the guess may have more. What defences left nothing of is NaN
    in those of the round, and left out.
    """

    of_guess: Callable[[Tensors, nn.Module, Guess, Protocol], Tensors]  # weights first; pure
    of_round: Callable[[nn.Module, Shared], Tensors]  # called once


def nothing(*_: object) -> Guess:
    """An empty guess: for an attack that infers nothing, or draws nothing anew."""
    return Guess()


def unchanged(_: nn.Module, guess: Guess) -> Guess:
    """The guess as it is: for an attack whose unknowns need no decoding."""
    return guess


@dataclass(frozen=True)
class Attack:
    """A gradient-matching attack as a value; a variant is `dataclasses.replace(attack, ...)`.

    A guess is put together from three parts: what the attack *infers* from the gradient once, what
    it *draws* anew before each evaluation, and what it *optimises* from a start. Where two parts
    say something about the same tensor, drawing comes before inferring, and inferring before
    optimising. `decode` turns the whole into images, labels and masks; images and labels may not
    depend on what is drawn, since a result shows them without a draw. A label in floating point
    is taken as logits and becomes probabilities. All functions are pure functions of tensors: a
    long attack calls `decode`, `distance` and `prior` once, and replays what they did.
    """

    name: str
    start: Callable[[nn.Module, Shared, Generator | None], Guess]  # the first guess of the unknowns
    distance: Callable[[Tensors, Tensors], Tensor]  # (of the guess, of the round) -> scalar
    optimizer: Optimizer
    infer: Callable[[nn.Module, Shared], Guess] = nothing
    draw: Callable[[nn.Module, Shared, Generator | None], Guess] = nothing
    decode: Callable[[nn.Module, Guess], Guess] = unchanged
    prior: Callable[[Guess], Tensor] | None = None  # -> scalar, added to the distance
    transform: Transform | None = None  # of the optimised image; None: its pixels are optimised
    compare: Comparison | None = None  # None: the gradients


@dataclass(frozen=True)
class Result:
    """What an attack found. The runs are always the first axis; nothing depends on the truth."""

    x: Tensor  # (runs, batch, channels, height, width): the iterate of the lowest matching loss
    y: Tensor  # (runs, batch): its labels
    loss: Tensor  # (runs, evaluations): of every evaluation; NaN once a run has stopped
    frames: Tensor  # (frames, runs, batch, channels, height, width): the film
    frame_steps: Tensor  # (frames,): after how many evaluations each frame was taken
    seeds: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    # (runs,) of the generators; -1: none
    attack: str = ""  # the recipe's name
    complete: bool = True  # False if it was interrupted
    checked: str = ""  # whether the update is what its protocol says, as far as it can be checked

    def __repr__(self) -> str:
        """One line: the recipe, the sizes, and how low the best run came."""
        runs, evaluations = self.loss.shape
        best = f"{self.best_loss.min():.1e}" if runs else "none"
        state = "" if self.complete else ", interrupted"
        images = " × ".join(map(str, self.x.shape[1:]))
        return (
            f"Result({self.attack}: {runs} run(s) of {images}, {evaluations} evaluations, "
            f"best loss {best}{state})"
        )

    @property
    def best_loss_so_far(self) -> Tensor:
        """The lowest matching loss so far, (runs, evaluations); inf while none was finite."""
        return self.loss.nan_to_num(torch.inf, torch.inf).cummin(1).values

    @property
    def best_loss(self) -> Tensor:
        """The lowest matching loss of each run, (runs,); inf where none was finite."""
        return nn.functional.pad(self.best_loss_so_far, (1, 0), value=torch.inf)[:, -1]

    def run(self, index: int) -> "Result":
        """One run alone, still with a leading axis of one."""
        index = range(len(self.x))[index]
        one = slice(index, index + 1)
        return replace(
            self,
            x=self.x[one],
            y=self.y[one],
            loss=self.loss[one],
            seeds=self.seeds[one],
            frames=self.frames[:, one],
        )

    def best(self) -> "Result":
        """The run of the lowest matching loss: the attacker's choice, made without the truth."""
        return self.run(int(self.best_loss.argmin()))
