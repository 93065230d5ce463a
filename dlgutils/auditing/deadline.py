"""An end for readings that have none of their own: they stop at the next call of PyTorch."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from dlgutils.auditing.clock import Clock

_SETTINGS = {torch._C._set_grad_enabled}
"""Calls that put back what holds for all that comes after: `no_grad` ends with one."""


class TimeIsUpError(Exception):
    """A reading was stopped; its words say after how long."""


class Deadline(TorchFunctionMode):
    """Within it every call of PyTorch raises TimeIsUpError once a clock has run out.

    What is stopped leaves nothing behind: once it was raised, calls that clean up on its way out
    are made. The time is exceeded by one call at most, such as the solution of one system of
    equations. It sees the calls of its own thread alone.
    """

    def __init__(self, clock: Clock):
        super().__init__()
        self.clock = clock

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """What the function returns. Raises TimeIsUpError after the clock's end."""
        on_its_way_out = isinstance(sys.exception(), TimeIsUpError)
        if not self.clock.left and function not in _SETTINGS and not on_its_way_out:
            raise TimeIsUpError(
                f"stopped after {self.clock.spent:.1f} s, its share of the budget, before it came "
                "to an end; give the audit more time"
            )
        return function(*args, **(kwargs or {}))
