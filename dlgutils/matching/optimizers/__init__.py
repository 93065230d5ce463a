"""Optimisers of many independent functions at once: points are (runs, n), no run waits for another.

Each is a pair of pure functions (see `types.Optimizer`): `init` makes a state, `update` takes one
evaluation of every run at `state.trial` and returns the next state. Whoever calls them evaluates,
records, and may stop between any two ticks.
"""

from dlgutils.matching.optimizers.adam import AdamState, adam
from dlgutils.matching.optimizers.lbfgs import lbfgs
from dlgutils.matching.optimizers.lbfgs_memory import Memory
from dlgutils.matching.optimizers.lbfgs_steps import LbfgsState

__all__ = ["AdamState", "LbfgsState", "Memory", "adam", "lbfgs"]
