"""L-BFGS for many runs, with a line search, or without one as DLG's public code calls it."""

from types import MappingProxyType

import torch
from torch import Tensor

from dlgutils.matching.optimizers.lbfgs_memory import empty_memory
from dlgutils.matching.optimizers.lbfgs_steps import LbfgsState, backtrack, full_step
from dlgutils.matching.optimizers.runs import all_alive, check_positive, per_run
from dlgutils.types import Optimizer


def lbfgs(*, history: int = 100, line_search: bool = True) -> Optimizer:
    """L-BFGS for each run, with or without a line search.

    With it (the default) a step is accepted if it decreases the value enough (Armijo, 1e-4);
    otherwise the next tick tries a shorter step along the same direction. A run whose step becomes
    negligible forgets its pairs and goes on from steepest descent; if that fails too, it stops.
    Without it: what `torch.optim.LBFGS` does as DLG's public code calls it (lr 1, first step at
    most 1/‖∇‖₁, its tolerances), free to diverge; a run freezes when its value or slope is not
    finite.

    Nothing in it waits for the device, since nothing is decided on the host.

    history: how many pairs a run remembers. A run takes 2 · history · n numbers of memory, which
    are updated in place, so an old state cannot be resumed. Raises ValueError unless it is
    positive.
    """
    check_positive("history", history)
    move = backtrack if line_search else full_step

    def init(z: Tensor) -> LbfgsState:
        zeros = torch.zeros_like(z)
        return LbfgsState(
            z=z,
            trial=z,
            alive=all_alive(z),
            value=z.new_full((len(z),), torch.inf),
            slope=zeros,
            direction=zeros,
            t=z.new_ones(len(z)),
            memory=empty_memory(z, history),
        )

    def update(state: LbfgsState, value: Tensor, slope: Tensor) -> LbfgsState:
        with torch.inference_mode():  # for small operations, bookkeeping counts
            state = move(state, value, slope)
        t = torch.where(state.alive, state.t, 0)
        return state._replace(trial=state.z + per_run(t) * state.direction)

    settings = {"history": history, "line_search": line_search}
    return Optimizer("lbfgs", init, update, MappingProxyType(settings))
