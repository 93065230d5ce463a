"""The steps of L-BFGS: which trial points it accepts, where it turns, and how far it goes."""

from typing import NamedTuple

import torch
from torch import Tensor

from dlgutils.matching.optimizers.lbfgs_memory import (
    Memory,
    Pair,
    forget,
    newton_step,
    pair_of,
    remember,
)
from dlgutils.matching.optimizers.runs import dot, is_finite, replace_where


class LbfgsState(NamedTuple):
    """Where every run of L-BFGS is, on its way along one direction."""

    z: Tensor  # (runs, n), the current point: the last one accepted
    trial: Tensor  # (runs, n), the point to evaluate next: z + t · direction
    alive: Tensor  # (runs,) bool
    value: Tensor  # (runs,), at z; inf before the first evaluation
    slope: Tensor  # (runs, n), at z
    direction: Tensor  # (runs, n)
    t: Tensor  # (runs,), the step along it
    memory: Memory

    def pair(self, slope: Tensor) -> Pair:
        """The step to the trial point, and the change of the slope over it."""
        return pair_of(self.trial - self.z, slope - self.slope)


def backtrack(state: LbfgsState, value: Tensor, slope: Tensor) -> LbfgsState:
    """Accept a sufficient decrease and turn to a new direction; otherwise halve the step.

    A run whose step has become negligible, or whose direction goes uphill, forgets its pairs and
    starts again from steepest descent, or stops if it had none.
    """
    promised = state.t * dot(state.slope, state.direction)
    enough = value <= state.value + 1e-4 * promised  # Armijo's condition
    accepted = state.alive & is_finite(value, slope) & enough

    pair = state.pair(slope)
    curved = pair.sy > 1e-10 * pair.ss.sqrt() * pair.yy.sqrt()  # more than rounding
    state = _accept(state, accepted, curved, pair, value, slope)
    length = state.slope.abs().sum(1)
    t = torch.where(accepted, _first_step(state, length), state.t / 2)
    return _restart(state._replace(t=t), length)


def full_step(state: LbfgsState, value: Tensor, slope: Tensor) -> LbfgsState:
    """Accept every finite point, and stop where `torch.optim.LBFGS` would.

    That is where the slope is flat or the direction hardly descends, by torch's default tolerances.
    """
    accepted = state.alive & is_finite(value, slope)
    started = state.value.isfinite()
    pair = state.pair(slope)
    state = _accept(state, accepted, pair.sy > 1e-10, pair, value, slope)

    flat = slope.abs().amax(1) <= 1e-7
    level = dot(state.slope, state.direction) > -1e-9
    length = state.slope.abs().sum(1)
    at_most_one = _first_step(state, length).clamp_max(1)
    return state._replace(t=torch.where(started, 1, at_most_one), alive=accepted & ~flat & ~level)


def _accept(
    state: LbfgsState, accepted: Tensor, curved: Tensor, pair: Pair, value: Tensor, slope: Tensor
) -> LbfgsState:
    """Move the accepted runs to their trial points and turn them to a new direction.

    Args:
        state: before.
        accepted: (runs,) bool; the others stay.
        curved: (runs,) bool, whose pairs are remembered, except at the start, where nothing came
            before.
        pair: of all runs.
        value: (runs,), at the trial points.
        slope: (runs, n), there.
    """
    new = accepted & curved & (state.value < torch.inf)
    memory, s_slope = remember(state.memory, new, pair, slope)
    moved = {
        "z": state.trial,
        "value": value,
        "slope": slope,
        "direction": newton_step(memory, slope, s_slope),
    }
    state = state._replace(memory=memory)
    return replace_where(state, accepted, moved)


def _first_step(state: LbfgsState, length: Tensor) -> Tensor:
    """The step along −slope that moves all unknowns by 1 together; 1 for runs that have a pair.

    length: (runs,), the sum of the absolute values of the slope.
    """
    return torch.where(state.memory.count > 0, 1, length.reciprocal())


def _restart(state: LbfgsState, length: Tensor) -> LbfgsState:
    """Turn the runs that are lost to steepest descent without their pairs; stop the hopeless.

    length: (runs,), the sum of the absolute values of the slope.
    """
    moves = state.t * state.direction.abs().amax(1)
    negligible = moves < torch.finfo(moves.dtype).eps
    downhill = dot(state.slope, state.direction) < 0
    lost = state.alive & (negligible | ~downhill)  # not uphill: a slope of NaN is lost as well

    hopeless = lost & ((state.memory.count == 0) | (length == 0))
    state = state._replace(alive=state.alive & ~hopeless, memory=forget(state.memory, lost))
    return replace_where(state, lost, {"direction": -state.slope, "t": length.reciprocal()})
