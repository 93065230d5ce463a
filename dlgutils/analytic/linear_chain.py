"""The linear layers at the end of a network, one after the other, and what lies between them."""

from collections import Counter
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from dlgutils.analytic.slopes import BENT, MONOTONE
from dlgutils.models.dropout import Dropout
from dlgutils.models.modules import Call, observe

_IDLE = (nn.Identity, nn.Flatten, nn.Dropout, nn.Unflatten)
_NONE = nn.Identity()
_FUNCTIONS = (_NONE, nn.ReLU(), nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.SiLU(), nn.ELU())
_FUNCTIONS += (nn.LeakyReLU(), nn.Softplus(), nn.GELU(approximate="tanh"))


class Link(NamedTuple):
    """A linear layer of the chain."""

    name: str  # of the layer
    dropout: str  # name of the active mask by which its input is multiplied, or ""
    activation: nn.Module | None  # between that and the next linear layer below; None: unknown
    has_bias: bool

    @property
    def weight(self) -> str:
        """The name of the weight."""
        return f"{self.name}.weight"

    @property
    def bias(self) -> str:
        """The name of the bias, whether there is one or not."""
        return f"{self.name}.bias"


def linear_chain(model: nn.Module, x_shape: tuple[int, ...]) -> tuple[tuple[Link, ...], str]:
    """The linear layers from the classifier down, and why there are no more; "" if all are there.

    Between two of them there are only modules and functions without parameters. A forward pass of
    one random image finds them. Raises ValueError if the model does not end with a linear layer
    that is used once.

    x_shape: (batch, channels, height, width) of the images.
    """
    generator = Generator().manual_seed(0)
    x = torch.rand((1, *x_shape[1:]), generator=generator)
    calls, logits = observe(model, x.to(next(model.parameters())))
    calls = [c for c in calls if isinstance(c.input, Tensor) and isinstance(c.output, Tensor)]
    _check_end(model, calls, logits)
    used = Counter(call.name for call in calls)
    tied = _tied(model)
    links, k, reason = [], len(calls) - 1, ""
    while k is not None and not reason:
        call = calls[k]
        if used[call.name] > 1 or call.name in tied:
            reason = f"the weight of {call.name} is used more than once: its gradient is a sum"
        elif call.input.shape[:-1].numel() > 1:
            reason = f"{call.name} is applied at several places of an image"
        else:
            dropout, activation = _between(calls, k)
            links.append(Link(call.name, dropout, activation, call.module.bias is not None))
            k = _linear_below(calls, k)
    if not links:
        raise ValueError(f"{reason}; what entered the classifier cannot be read")
    return tuple(links), reason


def _check_end(model: nn.Module, calls: list[Call], logits: Tensor) -> None:
    last = calls[-1]
    if type(last.module) is not nn.Linear or not last.output.equal(logits):
        raise ValueError(
            f"the last layer is not linear: this {type(model).__name__} ends with {last.name}, "
            f"a {type(last.module).__name__}, or a function after it; features are read off an "
            "nn.Linear whose output are the logits"
        )


def _tied(model: nn.Module) -> set[str]:
    """The modules with a parameter that another module has, too."""
    owners: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), set()).add(name.rpartition(".")[0])
    return set().union(*(names for names in owners.values() if len(names) > 1))


def _linear_below(calls: list[Call], k: int) -> int | None:
    """The call of the next linear layer below, unless another layer that learns comes first."""
    for i in reversed(range(k)):
        if next(calls[i].module.parameters(), None) is not None:
            return i if type(calls[i].module) is nn.Linear else None
    return None


def _between(calls: list[Call], k: int) -> tuple[str, nn.Module | None]:
    """Name of the mask below a linear layer, and the activation below that; None: unknown."""
    value, dropout, activation = calls[k].input.flatten(), "", _NONE
    for call in reversed(calls[:k]):
        steps = [_function_between(call.output.flatten(), value)]
        learns = next(call.module.parameters(), None) is not None
        if isinstance(call.module, Dropout) and call.module.p > 0:
            known = steps == [_NONE] and activation is _NONE and not dropout
            dropout = dropout or f"{call.name}.mask"
            if not known:
                return dropout, None
        elif not learns and not isinstance(call.module, (*_IDLE, Dropout)):
            steps.append(call.module if type(call.module) in (*MONOTONE, *BENT) else None)
        for step in steps:
            if step is None or (step is not _NONE and activation is not _NONE):
                return dropout, None
            activation = step if activation is _NONE else activation
        if learns:
            return dropout, activation if type(call.module) is nn.Linear else None
        value = call.input.flatten()
    return dropout, None


def _function_between(output: Tensor, value: Tensor) -> nn.Module | None:
    """The function that makes the value of what left a module, if it is a known one."""
    for function in _FUNCTIONS:
        if output.shape == value.shape and function(output).equal(value):
            return function
    return None
