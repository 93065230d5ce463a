"""Optimisers of many independent functions at once: points are (runs, n), no run waits for another.

Each is a pair of pure functions (see `types.Optimizer`): `init` makes a state, `update` takes one
evaluation of every run at `state.trial` and returns the next state. The caller evaluates, records,
and may stop between any two ticks.
"""

from dlgutils.matching.optimizers.adam import adam
from dlgutils.matching.optimizers.lbfgs import lbfgs

__all__ = ["adam", "lbfgs"]
