"""How much more memory do more runs need? Each peak comes from a process of its own, on Linux."""

import subprocess
import sys
from collections.abc import Iterator, Sequence

PEAK = """
import sys, torch
from pathlib import Path
from benchmarks import speed
torch.set_num_threads(1)
runs = int(sys.argv[1])
if runs:
    speed.attack(*speed.rounds(runs, 32, 1, "cpu"), steps=speed.STEPS)
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if "VmHWM" in line))
"""


def peak(runs: int) -> float:
    """The peak memory, in megabytes, of a process that attacks so many runs; 0: it only imports."""
    command = [sys.executable, "-c", PEAK, str(runs)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(ended.stdout) / 1024


def rows(numbers_of_runs: Sequence[int]) -> Iterator[tuple[object, ...]]:
    """Rows of a table: the peak without any run, then how much more there is with some."""
    base = peak(0)
    yield 0, base, "–"
    for runs in numbers_of_runs:
        megabytes = peak(runs) - base
        yield runs, megabytes, megabytes / runs
