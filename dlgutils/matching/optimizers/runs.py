"""What the optimisers share: tensors with one value for each run, (runs,), beside (runs, n)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def all_alive(z: Tensor) -> Tensor:
    """True for each run of z, (runs, n)."""
    return torch.ones(len(z), dtype=torch.bool, device=z.device)


def is_finite(value: Tensor, slope: Tensor) -> Tensor:
    """Whether the value and all of the slope are finite, (runs,) bool."""
    largest = slope.abs().amax(1)  # NaN if any is
    return largest.maximum(value.abs()) < torch.inf


def per_run(values: Tensor) -> Tensor:
    """One value for each run, (runs,), as (runs, 1): to compute with (runs, n)."""
    return values.unsqueeze(1)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """The scalar products of the runs of a and b, (runs, n) both: (runs,)."""
    return (a * b).sum(1)


def replace_where(
    state: Any,  # a NamedTuple of tensors, runs first
    chosen: Tensor,  # (runs,) bool
    fields: Mapping[str, Tensor | float],
) -> Any:
    """The state with these fields for the chosen runs; the others keep theirs."""
    changed = {}
    for name, new in fields.items():
        old = getattr(state, name)
        here = chosen if old.ndim == 1 else per_run(chosen)
        plain = isinstance(new, int)
        changed[name] = old.masked_fill(here, new) if plain else torch.where(here, new, old)
    return state._replace(**changed)


def check_positive(name: str, value: float) -> None:
    """Raises ValueError unless the setting of this name is positive (NaN is not)."""
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value}")
