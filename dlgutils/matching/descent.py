"""All runs of one problem, from their starts to their ends: one evaluation of each per tick."""

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor
from torch.func import grad_and_value
from torch.utils._pytree import tree_map_only
from tqdm.auto import tqdm

from dlgutils.matching.all_runs import AllRuns
from dlgutils.matching.problem import Problem
from dlgutils.matching.record import Record
from dlgutils.types import Result, nothing

Watch = Callable[[int, Tensor, Tensor], object]
"""(evaluations so far, best losses (runs,), current images (runs, batch, ...)) -> true to stop."""

_LOOK_EVERY = 16  # evaluations: to see which runs have stopped, the host waits for the device


def descend(
    problem: Problem, steps: int, schedule: set[int], bar: tqdm, watch: Watch | None
) -> Result:
    """All runs of one problem, from their starts to their ends, or to Ctrl-C: a `Result`.

    Args:
        problem: the functions that are minimised.
        steps: the most evaluations of each.
        schedule: after how many of them the film has a frame.
        bar: shows how far the attack is.
        watch: called after every evaluation; may stop the attack.
    """
    record = Record(problem, schedule)
    complete = False
    with suppress(KeyboardInterrupt):  # the record has every evaluation that was finished
        complete = _iterate(problem, record, steps, bar, watch)
    return record.result(complete)


def _iterate(problem: Problem, record: Record, steps: int, bar: tqdm, watch: Watch | None) -> bool:
    """Evaluate and move all runs, `steps` times. Returns whether they came to their ends.

    Runs that have stopped are taken out once they are half of those that are left.
    """
    draw, optimizer, given = problem.attack.draw, problem.attack.optimizer, problem.given
    evaluate = AllRuns(grad_and_value(problem.objective), problem.key)
    state = optimizer.init(problem.start)
    running = torch.arange(len(problem.start), device=problem.start.device)
    numbers = list(range(len(running)))  # the same on the host: a draw does not wait for the device
    for evaluation in range(steps):
        drawn = {} if draw is nothing else problem.draw(numbers)
        slope, value = evaluate(steps - evaluation, state.trial, drawn, given)
        trial, alive = state.trial, state.alive
        state = optimizer.update(state, value, slope)
        record.add(running, trial, value, alive, state.z)
        _advance(bar, record)
        if watch and watch(record.evaluations, record.best_loss, record.images()):
            return False
        if (evaluation + 1) % _LOOK_EVERY == 0:
            left = state.alive.nonzero()[:, 0]
            if not len(left):
                return True
            if 2 * len(left) <= len(running):
                state, given, running = _select(left, (state, given, running))
                numbers = running.tolist()
    return steps > 0


def _select(runs: Tensor, tensors: tuple) -> tuple:
    return tree_map_only(Tensor, lambda t: t[runs], tensors)


def _advance(bar: tqdm, record: Record) -> None:
    bar.update(len(record.best_loss))
    if not bar.disable:
        best, median = record.best_loss.min(), record.best_loss.median()
        bar.set_postfix(best=f"{best:.1e}", median=f"{median:.1e}", refresh=False)
