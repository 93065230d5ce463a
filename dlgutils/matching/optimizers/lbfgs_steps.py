"""The steps of L-BFGS: which trial points it accepts, where it turns, and how far it goes."""

from typing import NamedTuple

import torch
from torch import Tensor

from dlgutils.matching.optimizers.lbfgs_memory import Memory, forget, newton_step, remember
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

    def pair(self, slope: Tensor) -> tuple[Tensor, Tensor]:
        """The step to the trial point, and the change of the slope over it."""
        s = self.trial - self.z
        y = slope - self.slope
        return s, y


def backtrack(state: LbfgsState, value: Tensor, slope: Tensor) -> LbfgsState:
    """Accept a sufficient decrease and turn to a new direction; otherwise halve the step.

    A run whose step has become negligible, or whose direction goes uphill, forgets its pairs and
    starts again from steepest descent, or stops if it had none.
    """
    promised = state.t * dot(state.slope, state.direction)
    enough = value <= state.value + 1e-4 * promised  # Armijo's condition
    accepted = state.alive & is_finite(value, slope) & enough

    s, y = state.pair(slope)
    rounding = 1e-10 * s.norm(dim=1) * y.norm(dim=1)
    curved = dot(s, y) > rounding
    state = _accept(state, accepted, curved, value, slope)
    state = state._replace(t=state.t / 2)
    state = replace_where(state, accepted, {"t": _first_step(state)})
    return _restart(state)


def full_step(state: LbfgsState, value: Tensor, slope: Tensor) -> LbfgsState:
    """Accept every finite point, and stop where `torch.optim.LBFGS` would.

    That is where the slope is flat or the direction hardly descends, by torch's default tolerances.
    """
    accepted = state.alive & is_finite(value, slope)
    started = state.value.isfinite()
    s, y = state.pair(slope)
    curved = dot(s, y) > 1e-10
    state = _accept(state, accepted, curved, value, slope)

    flat = slope.abs().amax(1) <= 1e-7
    level = dot(state.slope, state.direction) > -1e-9
    at_most_one = _first_step(state).clamp_max(1)
    return state._replace(t=torch.where(started, 1, at_most_one), alive=accepted & ~flat & ~level)


def _accept(
    state: LbfgsState, accepted: Tensor, curved: Tensor, value: Tensor, slope: Tensor
) -> LbfgsState:
    """Move the accepted runs to their trial points and turn them to a new direction.

    The pairs of the curved runs are remembered, except at the start, where nothing came before.
    """
    s, y = state.pair(slope)
    new = accepted & state.value.isfinite() & curved
    memory, products = remember(state.memory, new, s, y, slope)
    moved = {
        "z": state.trial,
        "value": value,
        "slope": slope,
        "direction": newton_step(memory, slope, products),
    }
    state = state._replace(memory=memory)
    return replace_where(state, accepted, moved)


def _first_step(state: LbfgsState) -> Tensor:
    """The step along −slope that moves all unknowns by 1 together; 1 for runs that have a pair."""
    moves_by_one = 1 / state.slope.abs().sum(1)
    has_pair = state.memory.count > 0
    return torch.where(has_pair, 1, moves_by_one)


def _restart(state: LbfgsState) -> LbfgsState:
    """Turn the runs that are lost to steepest descent without their pairs; stop the hopeless."""
    moves = state.t * state.direction.abs().amax(1)
    negligible = moves < torch.finfo(moves.dtype).eps
    downhill = dot(state.slope, state.direction) < 0
    lost = state.alive & (negligible | ~downhill)  # not uphill: a slope of NaN is lost as well

    no_pair = state.memory.count == 0
    flat = (state.slope == 0).all(1)
    hopeless = lost & (no_pair | flat)
    state = state._replace(alive=state.alive & ~hopeless, memory=forget(state.memory, lost))
    steepest = {"direction": -state.slope, "t": _first_step(state)}
    return replace_where(state, lost, steepest)
