"""What the numbers of a defence may be."""

import math
from collections.abc import Iterable
from numbers import Real

from torch import Generator

from dlgutils.protocol import Defense


def is_real(number: object) -> bool:
    """Whether it is a real number, which True and False are not."""
    return isinstance(number, Real) and not isinstance(number, bool)


def check_share(what: str, share: float) -> None:
    """Raises ValueError unless `share` is a share of numbers that are kept: above 0, at most 1."""
    if not (is_real(share) and 0 < share <= 1):
        raise ValueError(
            f"{what} keeps a share of the numbers, above 0 and at most 1, got {share!r}; a client "
            "that keeps nothing sends nothing"
        )


def check_size(what: str, size: float) -> None:
    """Raises ValueError unless `size` is a finite number from zero on."""
    if not (is_real(size) and 0 <= size < math.inf):
        raise ValueError(f"{what} has a standard deviation, got {size!r}; 0 adds none")


def require_generator(what: str, generator: Generator | None) -> Generator:
    """The generator; raises ValueError for anything else, such as None or a seed."""
    if not isinstance(generator, Generator):
        came = "none came" if generator is None else f"{generator!r} came"
        raise ValueError(
            f"{what} is drawn from a generator and {came}; pass torch.Generator().manual_seed(0)"
        )
    return generator


def require_row(row: Iterable[Defense]) -> tuple[Defense, ...]:
    """Defences in a row as a tuple; raises ValueError for anything else, such as one by itself."""
    if isinstance(row, Defense):
        raise ValueError(
            f"defences come in a row, got {row.name!r} alone; put brackets around it, as in "
            "[defenses.clip(1.0), defenses.noise(0.001)]"
        )
    defenses = tuple(row) if isinstance(row, Iterable) else (None,)
    if not all(isinstance(defense, Defense) for defense in defenses):
        raise ValueError(
            f"defences come in a row, got {row!r}; make them with federated.defenses, as in "
            "[defenses.clip(1.0), defenses.noise(0.001)]"
        )
    return defenses
