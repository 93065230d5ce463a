"""What the tests share: one thread, one hypothesis profile, seeded generators and small rounds of learning."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from hypothesis import settings
from torch import Generator, nn

from dlgutils import models, share
from dlgutils.types import Batch, Shared

torch.set_num_threads(1)
settings.register_profile("book", max_examples=25, deadline=None, derandomize=True, database=None)
settings.load_profile("book")


class Round(NamedTuple):
    """A client's model and secret, and what the server sees of them."""

    model: nn.Module
    batch: Batch
    shared: Shared


def _seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def _tiny(seed: int = 0, *, batch: int = 1, dropout: float = 0.0, dtype: torch.dtype = torch.float64) -> Round:
    gen = _seeded(seed)
    model = models.init_default(models.lenet((1, 8, 8), 4, dropout=dropout).to(dtype), gen)
    secret = Batch(torch.rand(batch, 1, 8, 8, generator=gen, dtype=dtype), torch.randint(4, (batch,), generator=gen))
    return Round(model, secret, share(model, secret, gen, reveal_masks=True))


@pytest.fixture(scope="session")
def seeded() -> Callable[[int], Generator]:
    """seeded(3): a new generator of seed 3."""
    return _seeded


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Round]:
    """tiny(seed, batch=…, dropout=…, dtype=…): a LeNet for 8×8 grey images of four classes, and one honest round."""
    return _tiny
