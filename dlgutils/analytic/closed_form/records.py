"""The records of the closed form: what it returns, and what travels from layer to layer."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from dlgutils.types import Tensors


class Layer(NamedTuple):
    """One step down: what entered a layer, and how well the equations determine it."""

    name: str
    equations: int
    unknowns: int
    rank: int  # directions of u about which the equations say more than the prior
    condition: float  # of the equations, each divided by its error; inf: not of full rank
    residual: float  # root mean square of what they leave, in units of their errors: about 1
    u: Tensor  # (1, ...): what entered the layer

    @property
    def determined(self) -> bool:
        """Whether the equations determine all of u; otherwise the prior chose the rest."""
        return self.rank == self.unknowns


@dataclass(frozen=True)
class Solution:
    """What the recursion found in the gradient of one image; `print` shows a table."""

    x: Tensor  # (1, channels, height, width), of the gradient's dtype; not clamped to [0, 1]
    y: Tensor  # (1,): its label
    masks: Tensors  # {name: (1, features)}
    layers: tuple[Layer, ...]  # from the classifier down to the image
    residual: float  # how far the gradient of x is from the shared one; see `certificate.residual`

    @property
    def determined(self) -> bool:
        """Whether every layer was determined; otherwise part of the image is the prior's guess.

        It counts equations, and takes them for right: whether the answer is, shows `residual`.
        """
        return all(layer.determined for layer in self.layers)

    def __str__(self) -> str:
        """A table with a line for each layer."""
        width = max(len(layer.name) for layer in self.layers) + 2
        lines = [f"{'layer':<{width}}equations  unknowns  rank  condition  residual"]
        for layer in self.layers:
            counts = f"{layer.equations:>9}{layer.unknowns:>10}{layer.rank:>6}"
            errors = f"{layer.condition:>11.1e}{layer.residual:>10.1e}"
            remark = "" if layer.determined else "  underdetermined"
            lines.append(f"{layer.name:<{width}}{counts}{errors}{remark}")
        lines.append(f"the gradient recomputed from x is off by {self.residual:.0e}")
        return "\n".join(lines)


class Message(NamedTuple):
    """What is known at one place between two modules; it travels down the chain."""

    value: Tensor  # (n,) of the image at this place; empty above the classifier
    error: Tensor  # (n,) standard error of each value; inf where nothing is known
    grad_output: Tensor  # (n,) ∂loss/∂value, the gradient of the output of the module below
    grad_error: Tensor  # (n,) standard error of each entry of grad_output


class Step(NamedTuple):
    """A module of the chain, and the shape of its input for one image."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]


class Measured(NamedTuple):
    """The shared gradient in float64, and how wrong its numbers may be."""

    gradient: Tensors
    noise: float  # standard deviation of the noise in every number
    rounding: float  # relative error of every number, from the dtype in which it came
