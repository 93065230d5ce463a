"""The time that an audit may take."""

import math
import re
import time
from numbers import Real

_UNITS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ARTICLES = {"a": 1.0, "an": 1.0, "half a": 0.5, "half an": 0.5}
_BUDGET = re.compile(rf"(.+?)\s+({'|'.join(_UNITS)})s?")


def seconds_of(budget: float | str) -> float:
    """A budget in seconds: a number of them, or words such as "a minute" and "20 seconds".

    Raises ValueError for other words, and for a number that is negative or not finite.
    """
    number: object = budget
    found = _BUDGET.fullmatch(budget.strip().lower()) if isinstance(budget, str) else None
    if found:
        number = _number_of(found[1])
        number = None if number is None else number * _UNITS[found[2]]
    if not isinstance(number, Real) or isinstance(number, bool) or not 0 <= number < math.inf:
        raise ValueError(
            f"a budget is a time in seconds, from 0 on, or words such as 'a minute', '20 seconds' "
            f"or 'two hours', got {budget!r}"
        )
    return float(number)


def _number_of(word: str) -> float | None:
    if word in _NUMBERS:
        return float(_NUMBERS.index(word))
    if word in _ARTICLES:
        return _ARTICLES[word]
    try:
        return float(word)
    except ValueError:
        return None


class Clock:
    """How much of a budget is left, and whether the user has interrupted.

    A search that Ctrl-C ends returns what it has, and says so here.
    """

    def __init__(self, seconds: float):
        self.started = time.monotonic()
        self.end = self.started + seconds
        self.interrupted = False

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self.end - time.monotonic())

    @property
    def spent(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self.started

    def part(self, share: float) -> "Clock":
        """A clock of its own for a share, in [0, 1], of the time that is left."""
        return Clock(share * self.left)
