"""What the numbers of a defence may be."""

import math
from numbers import Real

from torch import Generator


def check_share(what: str, share: float) -> None:
    """Raises ValueError unless `share` is a share of numbers that are kept: above 0, at most 1."""
    if not (isinstance(share, Real) and 0 < share <= 1):
        raise ValueError(
            f"{what} keeps a share of the numbers, above 0 and at most 1, got {share!r}; a client "
            "that keeps nothing sends nothing"
        )


def check_size(what: str, size: float) -> None:
    """Raises ValueError unless `size` is a finite number from zero on."""
    if not (isinstance(size, Real) and 0 <= size < math.inf):
        raise ValueError(f"{what} has a standard deviation, got {size}; 0 adds none")


def require_generator(what: str, generator: Generator | None) -> Generator:
    """The generator; raises ValueError if none came."""
    if generator is None:
        raise ValueError(
            f"{what} is drawn from a generator and none came; pass torch.Generator().manual_seed(0)"
        )
    return generator
