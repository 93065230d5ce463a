"""A reading of a round that several parts of an attack ask for, made once."""

import weakref
from collections.abc import Callable
from functools import wraps

from torch import nn

from dlgutils.types import Shared


def once_for_each_round(read: Callable) -> Callable:
    """The same reading, which remembers what it found for a model and a round while both live.

    read: a function of a model and a round, a `Shared`.

    A gradient that was changed in place is read again; a model that was changed is taken as it was.
    """
    found: dict[tuple[int, int], tuple[tuple[int, ...], object]] = {}

    @wraps(read)
    def remembering(model: nn.Module, shared: Shared) -> object:
        key = (id(model), id(shared))
        state = _state(shared)
        if key not in found or found[key][0] != state:
            result = read(model, shared)
            if key not in found:
                for part in (model, shared):
                    weakref.finalize(part, found.pop, key, None)
            found[key] = (state, result)
        return found[key][1]

    return remembering


def _state(shared: Shared) -> tuple[int, ...]:
    """What changes with every change in place of the gradient; tensors of inference never do."""
    state = []
    for g in shared.gradient.values():
        state += [id(g), 0 if g.is_inference() else g._version]
    return tuple(state)
