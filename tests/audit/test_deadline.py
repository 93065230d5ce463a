"""A reading that is stopped leaves PyTorch as it was."""

import pytest
import torch

from dlgutils.auditing.clock import Clock
from dlgutils.auditing.deadline import Deadline, TimeIsUpError


@pytest.fixture
def clock():
    """A clock that runs out when it is told to: `clock.end = 0`."""
    return Clock(3600)


def test_every_call_is_stopped_once_the_time_is_up(clock):
    with Deadline(clock):
        assert torch.ones(2).sum() == 2
        clock.end = 0
        for _ in range(2):
            with pytest.raises(TimeIsUpError, match="stopped after"):
                torch.ones(2)


def runs_out_within_no_grad(clock):
    with torch.no_grad():
        clock.end = 0
        torch.ones(2)


def runs_out_as_no_grad_ends(clock):
    with torch.no_grad():
        clock.end = 0
    torch.ones(2)


@pytest.mark.parametrize("reading", [runs_out_within_no_grad, runs_out_as_no_grad_ends])
def test_what_is_stopped_leaves_gradients_on(reading, clock):
    with Deadline(clock), pytest.raises(TimeIsUpError):
        reading(clock)
    assert torch.is_grad_enabled()


def test_what_is_stopped_cleans_up_first(clock):
    buffer = torch.zeros(2)

    def reading():
        try:
            buffer.fill_(1)
            clock.end = 0
            buffer.fill_(2)
        finally:
            buffer.copy_(torch.tensor([5.0, 5.0]))

    with Deadline(clock):
        with pytest.raises(TimeIsUpError):
            reading()
        with pytest.raises(TimeIsUpError):
            buffer.fill_(3)
    assert buffer.tolist() == [5, 5]
