"""Defences of the same numbers are the same defence, in this process and in another."""

import inspect
from collections.abc import Callable
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
        return once(*signature.bind(*args, **kwargs).args)

    return factory
