"""Rows that fail, or come too late, without taking the others with them."""

import math
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

FAILURES: list[str] = []
"""The tracebacks of the rows that failed."""

_ends = [math.inf]  # when the time is over, on the clock of time.monotonic


class TimeIsOver(Exception):
    """The time that `allow` gave is over."""


def allow(seconds: float) -> None:
    """From now on, rows have so much time together; math.inf: as much as they need."""
    _ends[0] = time.monotonic() + seconds


def attempt(name: str, columns: int, work: Callable[[], Sequence[object]]) -> tuple[object, ...]:
    """A row of the table: name and cells; an error becomes the row, so that the others still come.

    So does the end of the time, in the middle of a row if need be.

    Args:
        name: the first cell.
        columns: of the table.
        work: returns the other cells.
    """
    blank = ["–"] * (columns - 2)
    try:
        with _until(_ends[0]):
            return (name, *work())
    except TimeIsOver:
        return (name, "left out: the time is over", *blank)
    except Exception as error:
        FAILURES.append(f"{name}\n{traceback.format_exc()}")
        first = (str(error).splitlines() or [""])[0]
        return (name, f"{type(error).__name__}: {first}", *blank)


@contextmanager
def _until(end: float) -> Iterator[None]:
    """Raise TimeIsOver inside at this time, after the operation that PyTorch is in."""
    left = end - time.monotonic()
    if left <= 0:
        raise TimeIsOver
    if math.isinf(left):
        yield
        return
    before = signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, left)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _interrupt(*_: object) -> None:
    raise TimeIsOver
