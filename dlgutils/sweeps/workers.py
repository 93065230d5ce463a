"""Where chunks are computed: in the workers of joblib, some of which may fail or die."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from joblib import Parallel, delayed, effective_n_jobs

from dlgutils.sweeps.cells import Cell, Row, check_rows

Trial = Callable[[Sequence[Cell]], Sequence[Row]]
"""An experiment: cells -> a row for each."""

Chunks = dict[int, Sequence[Cell]]
"""The cells of some chunks, by the number of the chunk."""

Answer = list[Row] | str
"""The rows of a chunk, or what went wrong."""


def run_chunks(trial: Trial, todo: Chunks) -> Iterator[tuple[int, Answer]]:
    """Each chunk with its rows, or with what went wrong, in the order in which they end.

    A worker that dies may take the others with it. Then the chunks that had been started run again,
    one at a time, to find the culprit, and the others go on as before.
    """
    groups = [dict(todo)]
    while groups:
        group = groups.pop()
        started: Chunks = {}
        try:
            for k, answer in as_completed(_tasks(trial, group, started)):
                del group[k]
                del started[k]
                yield k, answer
        except Exception as error:
            if not started:
                raise
            if len(group) == 1:
                yield next(iter(group)), _format_error(error)
            else:
                groups += _regroup(group, started)


def as_completed(tasks: Iterator[Any]) -> Iterator[Any]:
    """What the tasks return, each as soon as it ends.

    A backend such as ray's returns nothing before all tasks have ended; there, they are started in
    waves, one task for each worker.
    """
    try:
        parallel = Parallel(batch_size=1, return_as="generator_unordered")
    except ValueError:
        yield from _in_waves(tasks)
    else:
        yield from parallel(tasks)


def answer(trial: Trial, k: int, cells: Sequence[Cell]) -> tuple[int, Answer]:
    """What a worker returns for chunk k: its number, and its rows or an error as text."""
    try:
        return k, check_rows(trial(cells), cells)
    except Exception as error:
        return k, _format_error(error)


def _format_error(error: Exception) -> str:
    """An error as text, which a worker can always return; not every exception can be pickled."""
    return f"{type(error).__name__}: {error}"


def _tasks(trial: Trial, group: Chunks, started: Chunks) -> Iterator[Any]:
    """A task for each chunk of the group; those that joblib has taken are in `started`."""
    for k, cells in list(group.items()):
        started[k] = cells
        yield delayed(answer)(trial, k, cells)


def _in_waves(tasks: Iterator[Any]) -> Iterator[Any]:
    with Parallel(batch_size=1) as parallel:
        while True:
            wave = list(islice(tasks, effective_n_jobs(None)))
            if not wave:
                break
            yield from parallel(wave)


def _regroup(group: Chunks, started: Chunks) -> list[Chunks]:
    """The group without the chunks that were started, and each of those alone."""
    rest = {k: cells for k, cells in group.items() if k not in started}
    alone = [{k: cells} for k, cells in started.items()]
    return [rest, *alone]
