"""Looking into any model: which modules a forward pass calls, and putting another in a module's place."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Call(NamedTuple):
    """One call of a module without children during a forward pass."""

    name: str
    module: nn.Module
    input: Tensor  # the first argument
    output: Tensor


def observe(model: nn.Module, x: Tensor) -> tuple[list[Call], Tensor]:
    """The calls of all modules without children, in order, and the output, in one forward pass.

    x: a batch of images. No gradients are recorded; hooks are removed even if the pass fails. Raises
    what the model raises.
    """
    calls: list[Call] = []
    with torch.no_grad(), _hooks(model, calls):
        output = model(x)
    return calls, output


def replace_module(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put `new` wherever the model has `old`, under each of its names; changes the model."""
    names = [name for name, m in model.named_modules(remove_duplicate=False) if m is old]
    for name in names:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, new)


@contextmanager
def _hooks(model: nn.Module, calls: list[Call]) -> Iterator[None]:
    hooks = []
    for name, module in model.named_modules():
        if next(module.children(), None) is None:
            hooks.append(module.register_forward_hook(_noting(name, calls)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _noting(name: str, calls: list[Call]):
    def note(module: nn.Module, arguments: tuple, output: Tensor) -> None:
        calls.append(Call(name, module, arguments[0], output))

    return note
