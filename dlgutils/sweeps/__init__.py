"""Many runs as one table: a grid of experiments in chunks that survive an interruption."""

from dlgutils.sweeps.run_grid import run_grid, sweep

__all__ = ["run_grid", "sweep"]
