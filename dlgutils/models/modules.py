"""Looking into any model: which modules a forward pass calls, and replacing one of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlgutils.models.forward import twice_differentiable


class Call(NamedTuple):
    """One call of a module without children during a forward pass."""

    name: str
    module: nn.Module
    input: Tensor | None  # the first argument; None: it was called without any
    output: Tensor


def observe(model: nn.Module, x: Tensor) -> tuple[list[Call], Tensor]:
    """The calls of all modules without children, in order, and the output, in one forward pass.

    x: a batch of images. Nothing is copied, so a module that works in place changes the tensors of
    the calls before it. No gradients are recorded, and the hooks are removed even if the pass
    fails. Raises what the model raises.
    """
    with torch.no_grad(), twice_differentiable(), recorded_calls(model) as calls:
        output = model(x)
    return calls, output


@contextmanager
def recorded_calls(model: nn.Module) -> Iterator[list[Call]]:
    """The calls of all modules without children, in order, of every forward pass within."""
    calls: list[Call] = []
    handles = []
    for name, module in model.named_modules():
        has_children = any(True for _ in module.children())
        if not has_children:
            hook = _append_to(calls, name)
            handles.append(module.register_forward_hook(hook, with_kwargs=True))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def kept_buffers(model: nn.Module) -> Iterator[list[str]]:
    """Puts back what forward passes within change in the buffers; afterwards, their names."""
    before = {name: (buffer, buffer.clone()) for name, buffer in model.named_buffers()}
    changed: list[str] = []
    try:
        yield changed
    finally:
        for name, (buffer, old) in before.items():
            if not buffer.nan_to_num().equal(old.nan_to_num()):
                changed.append(name)
                buffer.copy_(old)


@torch.no_grad()
def called(model: nn.Module, x: Tensor) -> set[nn.Module]:
    """The modules that one forward pass calls, with and without children; x: a batch of images.

    What is used without being called, as by `F.linear(x, layer.weight)`, is not among them. Raises
    what the model raises.
    """
    found: set[nn.Module] = set()
    handles = []
    for module in model.modules():
        handles.append(module.register_forward_pre_hook(lambda own, _: found.add(own)))
    try:
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found


def replace_module(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put `new` wherever the model has `old`, under each of its names; changes the model."""
    modules = list(model.named_modules(remove_duplicate=False))
    for name, module in modules:
        if module is old:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, new)


def _append_to(calls: list[Call], name: str) -> Callable:
    def hook(module: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> None:
        arguments = (*args, *kwargs.values())
        first = arguments[0] if arguments else None
        calls.append(Call(name, module, first, output))

    return hook
