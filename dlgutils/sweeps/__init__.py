"""Many runs as one table: a grid of experiments in chunks that survive an interruption."""

from dlgutils.sweeps.recovery import sweep
from dlgutils.sweeps.run_grid import run_grid

__all__ = ["run_grid", "sweep"]
