"""Defences of the same numbers are the same defence, in this process and in another."""

import inspect
from collections.abc import Callable, Hashable
from functools import cache, partial, wraps

from dlgutils.protocol import Defense


def remembered(make: Callable[..., Defense]) -> Callable[..., Defense]:
    """A factory that makes one defence for the same numbers, which pickle makes anew from them.

    make: a function of a module, of numbers, however they are passed.
    """
    signature = inspect.signature(make)

    @cache
    def once(*numbers: float) -> Defense:
        defense = make(*numbers)
        object.__setattr__(defense, "made_by", partial(factory, *numbers))
        return defense

    @wraps(make)
    def factory(*args: float, **kwargs: float) -> Defense:
        numbers = signature.bind(*args, **kwargs).args
        if not all(map(_is_number, numbers)):
            return make(*numbers)  # which refuses them
        return once(*numbers)

    return factory


def _is_number(number: object) -> bool:
    """Whether it may be looked up among numbers; True would be found as 1."""
    return isinstance(number, Hashable) and not isinstance(number, bool)
