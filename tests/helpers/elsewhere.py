"""A device that is pretended: its tensors have numbers, and refuse to meet tensors of the CPU.

Without a GPU, this is how a test finds what was left on the CPU by mistake. PyTorch lets Python
register a device of its own, for autograd too; the tensors here hold one of the CPU each, and every
operation on them is done there, if all of them are from the same device. The rules are those of a
GPU: numbers without a dimension may come from the CPU, as may the indices of `x[index]`; copies
cross over; whatever leaves goes through `.cpu()`, `.item()` or `.tolist()`.

Registering is for the whole process and must be before its first backward pass, when autograd
counts devices: the `conftest` of `tests/elsewhere` does it. Other tests would meet the device where
PyTorch asks for an accelerator, so that folder is left out unless it is named.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.fx.experimental import proxy_tensor
from torch.library import Library
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._mode_utils import no_dispatch
from torch.utils._pytree import tree_leaves, tree_map

from dlgutils.types import Batch, Shared

NAME = "elsewhere"
CAN_REGISTER = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default}
INDEXED = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}
RESIZED = ("arange", "eye", "linspace", "randperm", "tril_indices", "triu_indices")
"""What PyTorch creates empty and resizes, which no tensor here can be."""

LIBRARIES: list[Library] = []
"""Kernels are registered for as long as these live."""


def register() -> None:
    """Make the device known to PyTorch, for as long as the process lives."""
    if CAN_REGISTER and not LIBRARIES:
        backend_registration._setup_privateuseone_for_python_backend(NAME)
        every, library = Library("_", "IMPL"), Library("aten", "IMPL")
        every.fallback(create, "PrivateUse1")
        for name in RESIZED:
            library.impl(name, partial(create, getattr(aten, name).default), "PrivateUse1")
        LIBRARIES.extend([every, library])


class Elsewhere(Tensor):
    """A tensor of the pretended device, which holds its numbers on the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor):
        return Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=torch.device(NAME, 0),
        )

    def __init__(self, held: Tensor):
        self.held = held

    def __repr__(self) -> str:
        return f"Elsewhere({self.held})"

    def tolist(self) -> list:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return run(operation, args, kwargs or {})


class _FromNumbers(TorchFunctionMode):
    """Tensors of numbers, as in `torch.tensor([1.0], device="elsewhere")`: a call without dispatch.

    They are made on the CPU and moved.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is Tensor.new_tensor:
            like, *args = args
            kwargs = {"device": like.device, "dtype": like.dtype, **kwargs}
            function = torch.tensor
        if function in (torch.tensor, torch.as_tensor) and "device" in kwargs:
            device = kwargs.pop("device")
            return function(*args, **kwargs).to(device)
        return function(*args, **kwargs)


@contextmanager
def pretended() -> Iterator[str]:
    """Inside, attacks can be made on the device of this name.

    Tensors of a class of their own cannot take part in inference mode, which saves time only, and
    are traced if tracing is told so.
    """
    types = (*proxy_tensor.HANDLED_TYPES, Elsewhere)
    traced = patch.object(proxy_tensor, "HANDLED_TYPES", types)
    with traced, _FromNumbers(), patch.object(torch, "inference_mode", torch.no_grad):
        yield NAME


def create(operation, *args: object, **kwargs: object) -> object:
    """A tensor created on the device, from no other."""
    return run(operation, args, kwargs)


def run(operation, args: tuple, kwargs: dict) -> object:
    """An operation where its tensors are, on the CPU behind the scenes.

    Raises RuntimeError for tensors of both devices, as PyTorch does on a GPU.
    """
    _require_one_device(operation, args, kwargs)
    there = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Elsewhere)]
    device = kwargs.get("device")
    if device is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    returned = operation(*tree_map(_held, args), **tree_map(_held, kwargs))
    if there and torch.Tag.inplace_view in operation.tags:
        with no_dispatch():  # the shape that the tensor itself says it has
            operation(*args, **kwargs)
    stays = bool(there) if device is None else torch.device(device).type == NAME
    if operation is aten.copy_.default:
        stays = isinstance(args[0], Elsewhere)
    if not stays:
        return returned
    same = {id(tensor.held): tensor for tensor in there}
    return tree_map(lambda value: same.get(id(value), _wrapped(value)), returned)


def _require_one_device(operation, args: tuple, kwargs: dict) -> None:
    if operation in COPIES:
        return
    leaves = tree_leaves((args, kwargs))
    indices = tree_leaves(args[1]) if operation in INDEXED else []
    free = {id(leaf) for leaf in indices}
    here = [leaf for leaf in leaves if type(leaf) is Tensor and leaf.dim() and id(leaf) not in free]
    if here and any(isinstance(leaf, Elsewhere) for leaf in leaves):
        raise RuntimeError(f"{operation}: expected all tensors to be on the same device")


def _held(value: object) -> object:
    return value.held if isinstance(value, Elsewhere) else value


def _wrapped(value: object) -> object:
    return Elsewhere(value) if isinstance(value, Tensor) else value


def moved(thing: object) -> object:
    """The same on the pretended device: a tensor, mapping, model, `Batch` or `Shared`."""
    if isinstance(thing, Tensor):
        return thing.to(NAME)
    if isinstance(thing, nn.Module):
        return copy.deepcopy(thing).to(NAME)
    if isinstance(thing, Batch):
        return Batch(moved(thing.x), moved(thing.y))
    if isinstance(thing, Shared):
        return replace(thing, weights=moved(thing.weights), gradient=moved(thing.gradient))
    return {name: moved(tensor) for name, tensor in thing.items()}
