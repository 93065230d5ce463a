"""The nouns of the book: what the client keeps, what the server sees, what an attack is, what it returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

Tensors = Mapping[str, Tensor]
"""Tensors by name: weights, gradients, masks, unknowns."""


class Batch(NamedTuple):
    """The client's secret: images and labels. Nothing but `metrics` ever compares a reconstruction with it."""

    x: Tensor  # (batch, channels, height, width) in [0, 1]
    y: Tensor  # (batch,) class ids, int64


@dataclass(frozen=True)
class Shared:
    """Everything that the server sees of one round of federated learning, and nothing else.

    `masks` is None unless the client was asked to reveal them: an oracle experiment, visible in the code.
    """

    weights: Tensors  # {name: tensor}, as model.named_parameters()
    gradient: Tensors  # the same names and shapes
    x_shape: tuple[int, ...]  # (batch, channels, height, width): public
    masks: Tensors | None = None  # {name: (batch, *features)}


class Candidate(NamedTuple):
    """What an attacker believes at one moment: enough to recompute a gradient."""

    x: Tensor  # (batch, channels, height, width)
    y: Tensor  # (batch,) class ids, or (batch, classes) probabilities
    masks: Tensors = MappingProxyType({})  # {name: (batch, *features)}; none: all ones, which is eval mode


class Optimizer(NamedTuple):
    """A way to minimise many independent functions at once, one evaluation of each per tick.

    `init` turns the first guess, (runs, n), into a state; `update` takes the values, (runs,), and the slopes, (runs, n), at
    `state.trial` and returns the next state. A state has at least `z`, the point held, `trial`, the point to evaluate
    next, both (runs, n), and `alive`, (runs,) bool: a run that is not alive is left as it is.
    """

    name: str
    init: Callable[[Tensor], Any]
    update: Callable[[Any, Tensor, Tensor], Any]


def nothing(*_: object) -> Tensors:
    """No tensors: for an attack that reads nothing off the gradient, or draws nothing anew."""
    return {}


@dataclass(frozen=True)
class Attack:
    """A gradient-matching attack as a value; a variant is `dataclasses.replace(attack, ...)`.

    The attacker's guess is three sets of tensors put together: those it *reads* off the gradient once, those it *draws*
    anew before each evaluation, and those it *optimises* from a start. `decode` makes a `Candidate` of them, whose x and y
    may not depend on what is drawn: the result shows them without a draw.
    """

    name: str
    start: Callable[[nn.Module, Shared, Generator | None], Tensors]  # the first guess of what is optimised
    decode: Callable[[Tensors], Candidate]
    distance: Callable[[Tensors, Tensors], Tensor]  # (gradient of the guess, shared gradient) -> scalar
    optimizer: Optimizer
    read: Callable[[nn.Module, Shared], Tensors] = nothing
    draw: Callable[[nn.Module, Shared, Generator | None], Tensors] = nothing
    prior: Callable[[Candidate], Tensor] | None = None  # -> scalar, added to the distance


@dataclass(frozen=True)
class Result:
    """What an attack found: `runs` come first, always. Nothing in it depends on the truth."""

    x: Tensor  # (runs, batch, channels, height, width): the iterate of the lowest matching loss
    y: Tensor  # (runs, batch): its labels
    loss: Tensor  # (runs, evaluations): the matching loss of every evaluation; NaN once a run has stopped
    frames: Tensor  # (frames, runs, batch, channels, height, width): the film of the reconstruction
    frame_steps: Tensor  # (frames,): after how many evaluations each frame was taken
    attack: str = ""  # the recipe's name
    complete: bool = True  # False if it was interrupted

    @property
    def lowest_so_far(self) -> Tensor:
        """The lowest matching loss up to each evaluation, (runs, evaluations); inf while none was finite."""
        return self.loss.nan_to_num(torch.inf, torch.inf).cummin(1).values

    @property
    def lowest(self) -> Tensor:
        """The lowest matching loss of each run, (runs,); inf where none was finite."""
        return nn.functional.pad(self.lowest_so_far, (1, 0), value=torch.inf)[:, -1]

    def run(self, index: int) -> "Result":
        """One run alone, still with a leading axis of one."""
        index = range(len(self.x))[index]
        one = slice(index, index + 1)
        return replace(self, x=self.x[one], y=self.y[one], loss=self.loss[one], frames=self.frames[:, one])

    def best(self) -> "Result":
        """The run of the lowest matching loss: what the attacker would choose, without the truth."""
        return self.run(int(self.lowest.argmin()))
