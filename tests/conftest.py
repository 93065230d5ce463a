"""What the tests share: one thread, one hypothesis profile, seeded generators and small rounds."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import settings
from torch import Generator

from dlgutils import models
from dlgutils.federated import Round, honest
from dlgutils.types import Batch

torch.set_num_threads(1)
settings.register_profile("book", max_examples=25, deadline=None, derandomize=True, database=None)
settings.load_profile("book")


def _seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def _tiny(
    seed: int = 0, *, batch: int = 1, dropout: float = 0.0, dtype: torch.dtype = torch.float64
) -> Round:
    generator = _seeded(seed)
    model = models.lenet((1, 8, 8), 4, dropout=dropout).to(dtype)
    model = models.init_default(model, generator)
    x = torch.rand(batch, 1, 8, 8, generator=generator, dtype=dtype)
    y = torch.randint(4, (batch,), generator=generator)
    return honest(model, Batch(x, y), generator, init=None)


@pytest.fixture(scope="session")
def seeded() -> Callable[[int], Generator]:
    """seeded(3): a new generator of seed 3."""
    return _seeded


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Round]:
    """tiny(seed, batch=…, dropout=…, dtype=…): a LeNet for 8×8 grey images of four classes, and one honest round."""
    return _tiny
