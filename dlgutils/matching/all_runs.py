"""A function of one run for all runs: at once where that can be, else one after another."""

import warnings
from collections.abc import Callable, Hashable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_map_only

from dlgutils.matching.kept_programs import keep, kept, sizes
from dlgutils.matching.programs import Program

_TRACE_PAYS = 500  # evaluations · (runs + 12) to come: then programs save what they cost

_NO_DERIVATIVE = ("derivative for", "data pointer")  # words of PyTorch's errors


class AllRuns:
    """A function of one run's tensors, called with those of all runs, which come first in each.

    All runs are computed at once, by `vmap`, as a program if enough calls are to come: one is made,
    or was kept, for each number of runs. A model whose `forward` decides by the
    numbers it sees, as `if x.mean() > 0.5` does, cannot be computed so: then, with a warning, each
    run has its turn.
    """

    def __init__(self, function: Callable, key: Hashable = None):
        """The last argument of the function must be the same in all calls with as many runs.

        key: of functions that compute the same, whose programs are kept; None: of this one alone.
        """
        self.function = function
        self.key = object() if key is None else key
        self.at_once = True
        self.chosen: dict[int, Callable] = {}

    def __call__(self, to_come: int, *args: object) -> tuple[Tensor, ...]:
        """What the function returns for every run, stacked; to_come: calls from now on."""
        if self.at_once:
            try:
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
        *changing, fixed = args
        runs = len(args[0])
        if runs in self.chosen:
            return self.chosen[runs](*changing)
        together = _of_all(runs, self.function)
        values = together(*args)
        program = self._program(to_come, args, values)
        plain = partial(_with_last, together, fixed)
        self.chosen[runs] = program.given(fixed) if program else plain
        return values

    def _program(self, to_come: int, args: tuple, values: tuple) -> Program | None:
        """The function as a program, where it pays; a kept one must return these values.

        Whether it pays depends on this call alone, so that results do not depend on earlier ones.
        """
        *changing, fixed = args
        runs = len(args[0])
        if to_come * (runs + 12) < _TRACE_PAYS:
            return None
        key = self.key, sizes(args)
        program = kept(key)
        if program is None or not _agree(program.given(fixed)(*changing), values):
            program = Program(_of_all(runs, self.function), *args)
            keep(key, program)
        return program


def _of_all(runs: int, function: Callable) -> Callable:
    """The function of all runs; of one run alone without `vmap`, whose operations are more."""
    if runs > 1:
        return all_together(function)
    return lambda *args: one_after_another(function, args)


def all_together(function: Callable) -> Callable:
    """`vmap(function)`, without its warnings of operations that it takes one after another."""

    def together(*args: object) -> tuple[Tensor, ...]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")
            return vmap(function)(*args)

    return together


def _with_last(function: Callable, last: object, *args: object) -> tuple[Tensor, ...]:
    return function(*args, last)


def _agree(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether these are the same values for each run but for rounding; not where they are NaN."""
    near = []
    for one, other in zip(some, others, strict=True):
        scale = other.flatten(1) if other.ndim > 1 else other[:, None]
        difference = (one - other).reshape_as(scale)
        rounding = torch.finfo(other.dtype).eps ** 0.5
        near.append(difference.norm(dim=1) <= rounding * scale.norm(dim=1))
    return bool(torch.stack(near).all())


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
