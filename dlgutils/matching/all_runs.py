"""A function of one run for all runs: at once where that can be, else one after another."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_map_only

from dlgutils.matching.tracing import traced

_TRACE_PAYS = 3000  # evaluations · (runs + 8) to come: then tracing costs less than it saves

_NO_DERIVATIVE = ("derivative for", "data pointer")  # words of PyTorch's errors


class AllRuns:
    """A function of one run's tensors, called with those of all runs, which come first in each.

    All runs are computed at once, by `vmap`, as a trace if enough calls are to come: a trace is
    made for each number of runs. A model whose `forward` decides by the numbers it sees, as
    `if x.mean() > 0.5` does, cannot be computed so: then, with a warning, each run has its turn.
    """

    def __init__(self, function: Callable):
        self.function = function
        self.at_once = True
        self.chosen: dict[int, Callable] = {}

    def __call__(self, to_come: int, *args: object) -> tuple[Tensor, ...]:
        """What the function returns for every run, stacked; to_come: calls from now on."""
        if self.at_once:
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message="There is a performance drop")
                    return self._together(to_come, args)
            except RuntimeError as error:
                if lacks_memory(error):
                    raise
                reason = error
        values = _explained(one_after_another, self.function, args)
        if self.at_once:
            self.at_once = False
            _warn(reason)
        return values

    def _together(self, to_come: int, args: tuple) -> tuple[Tensor, ...]:
        runs = len(args[0])
        if runs not in self.chosen:
            function = vmap(self.function)
            pays = to_come * (runs + 8) >= _TRACE_PAYS
            self.chosen[runs] = traced(function, *args) if pays else function
        return self.chosen[runs](*args)


def one_after_another(function: Callable, args: tuple) -> tuple[Tensor, ...]:
    """What `vmap(function)(*args)` returns, a run at a time."""
    values = []
    for run in range(len(args[0])):
        values.append(function(*_of_run(run, args)))
    return tuple(torch.stack(parts) for parts in zip(*values, strict=True))


def lacks_memory(error: RuntimeError) -> bool:
    """Whether a computation failed because the memory was too small for it."""
    cuda = isinstance(error, torch.cuda.OutOfMemoryError)
    return cuda or "can't allocate memory" in str(error)


def _explained(function: Callable, *args: object) -> tuple[Tensor, ...]:
    """What the function returns; an operation that PyTorch cannot differentiate is named."""
    try:
        return function(*args)
    except RuntimeError as error:
        if not any(words in str(error) for words in _NO_DERIVATIVE):
            raise
        raise ValueError(
            f"the gradient of this model cannot be differentiated again: {error}; write that part "
            "of its forward with operations of PyTorch that can be"
        ) from error


def _of_run(run: int, args: tuple) -> tuple:
    return tree_map_only(Tensor, lambda t: t[run], args)


def _warn(reason: RuntimeError) -> None:
    lines = str(reason).strip().splitlines() or [type(reason).__name__]
    warnings.warn(
        "this model cannot be computed for many runs at once, so one run goes after another, which "
        f"takes longer: {lines[0]}",
        stacklevel=6,
    )
