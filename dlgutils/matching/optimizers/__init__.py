"""Optimisers of many independent functions at once: points are (runs, n), no run waits for another."""

from dlgutils.matching.optimizers.lbfgs import AdamState, LbfgsState, Memory, adam, lbfgs

__all__ = ["AdamState", "LbfgsState", "Memory", "adam", "lbfgs"]
