"""What the tests share: one thread, one hypothesis profile, seeded generators and small rounds."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from hypothesis import settings
from torch import Generator

from dlgutils.federated import Round
from dlgutils.testing import tiny_round
from tools.slow_tests import listed

torch.set_num_threads(1)
settings.register_profile("book", max_examples=25, deadline=None, derandomize=True, database=None)
settings.load_profile("book")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow.csv, which are long, as those that say so themselves."""
    long = listed()
    for item in items:
        if item.nodeid.partition("[")[0] in long:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def gradients_stay_on() -> Iterator[None]:
    """No test leaves gradients off for those that come after it."""
    yield
    assert torch.is_grad_enabled()


def _seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="session")
def seeded() -> Callable[[int], Generator]:
    """seeded(3): a new generator of seed 3."""
    return _seeded


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Round]:
    """tiny(seed, batch=…, dropout=…, dtype=…): one honest round of a LeNet for 8×8 grey images."""
    return partial(tiny_round, dropout=0.0)
