"""The nouns of the book: what the client keeps, what the server sees, what an attack is, what it returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from dlgutils.files import write_whole, written_by

Tensors = Mapping[str, Tensor]
"""Tensors by name: weights, gradients, masks, unknowns."""

_FORMAT = "1"  # of a saved result: another number for another set of fields


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
    next, both (runs, n), and `alive`, (runs,) bool: a run that is not alive is left as it is, and may be taken out. So
    every tensor in a state has the runs first, in tuples as deep as you like, and no run may look at another.
    """

    name: str
    init: Callable[[Tensor], Any]
    update: Callable[[Any, Tensor, Tensor], Any]


class Coordinates(NamedTuple):
    """Unknowns in place of pixels: `encode` leads from images to them, `decode` back; each undoes the other.

    Both take and return (batch, channels, height, width). The matching loss is the same function of the image; an optimiser
    started at the same image takes another path.
    """

    name: str
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]


def nothing(*_: object) -> Tensors:
    """No tensors: for an attack that reads nothing off the gradient, or draws nothing anew."""
    return {}


@dataclass(frozen=True)
class Attack:
    """A gradient-matching attack as a value; a variant is `dataclasses.replace(attack, ...)`.

    The attacker's guess is three sets of tensors put together: those it *reads* off the gradient once, those it *draws*
    anew before each evaluation, and those it *optimises* from a start. `decode` makes a `Candidate` of them, whose x and y
    may not depend on what is drawn: the result shows them without a draw. All are pure functions of tensors: a long attack
    calls `decode`, `distance` and `prior` once and replays what they did.
    """

    name: str
    start: Callable[[nn.Module, Shared, Generator | None], Tensors]  # the first guess of what is optimised
    decode: Callable[[Tensors], Candidate]
    distance: Callable[[Tensors, Tensors], Tensor]  # (gradient of the guess, shared gradient) -> scalar
    optimizer: Optimizer
    read: Callable[[nn.Module, Shared], Tensors] = nothing
    draw: Callable[[nn.Module, Shared, Generator | None], Tensors] = nothing
    prior: Callable[[Candidate], Tensor] | None = None  # -> scalar, added to the distance
    coordinates: Coordinates | None = None  # in which the image "x" of the start is optimised; None: in pixels


@dataclass(frozen=True)
class Result:
    """What an attack found: `runs` come first, always. Nothing in it depends on the truth."""

    x: Tensor  # (runs, batch, channels, height, width): the iterate of the lowest matching loss
    y: Tensor  # (runs, batch): its labels
    loss: Tensor  # (runs, evaluations): the matching loss of every evaluation; NaN once a run has stopped
    frames: Tensor  # (frames, runs, batch, channels, height, width): the film of the reconstruction
    frame_steps: Tensor  # (frames,): after how many evaluations each frame was taken
    seeds: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))  # (runs,) of their generators; -1: none
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
        mine = {name: getattr(self, name)[one] for name in ("x", "y", "loss", "seeds")}
        return replace(self, **mine, frames=self.frames[:, one])

    def best(self) -> "Result":
        """The run of the lowest matching loss: what the attacker would choose, without the truth."""
        return self.run(int(self.lowest.argmin()))

    def save(self, path: str | Path) -> None:
        """Write everything to one file of tensors and text (safetensors, no pickle): whole, or not at all.

        Raises the OSError of the failure, FileNotFoundError for a folder that does not exist.
        """
        from safetensors.torch import save

        names = _tensor_names()
        tensors = {name: getattr(self, name).detach().cpu().clone(memory_format=torch.contiguous_format) for name in names}
        text = {"format": _FORMAT, "attack": self.attack, "complete": str(self.complete), **written_by()}
        write_whole(Path(path), save(tensors, text))

    @staticmethod
    def load(path: str | Path) -> "Result":
        """The result that `save` wrote, on the CPU, equal to the last bit.

        Raises FileNotFoundError if there is no such file, and ValueError for a file that is damaged, holds something else,
        or was written in another format.
        """
        from safetensors import SafetensorError, safe_open

        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file {path} to load; save one there first: result.save(path)")
        try:
            with safe_open(path, "pt") as file:
                text, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged, or no saved result ({error}); run the attack again and save it") from error
        _check_saved(path, text, tensors)
        return Result(**tensors, attack=text["attack"], complete=text["complete"] == "True")


def _tensor_names() -> list[str]:
    return [f.name for f in fields(Result) if f.type is Tensor]


def _check_saved(path: str | Path, text: Mapping[str, str], tensors: Tensors) -> None:
    if text.get("format", _FORMAT) != _FORMAT and "dlgutils" in text:
        raise ValueError(
            f"{path} holds a result of format {text['format']}, this dlgutils reads format {_FORMAT}; "
            f"install dlgutils {text['dlgutils']}, which wrote it, or run the attack again"
        )
    wanted = {*_tensor_names(), "format", "attack", "complete", "dlgutils", "torch"}
    if wrong := wanted ^ {*text, *tensors}:
        raise ValueError(f"{path} is no saved result: {sorted(wrong)} missing or unknown; save one with result.save(path)")
