"""How fast is one run alone? Ours beside the eager loop, evaluation by evaluation.

`python -m benchmarks.one_run [repeats]` prints a Markdown table. All rows take turns, and what
counts is the CPU time of this process on one thread, so that a busy machine changes little; the
ratios are medians over the turns. The first row is the objective of the reference loop without an
optimiser; ours are whole attacks, optimiser and all, from the second call on.
"""

import sys
import time
from collections.abc import Callable
from itertools import islice
from statistics import median

import torch
from torch import Generator, nn

import dlgutils as du
from benchmarks import reference
from benchmarks.speed import attack, rounds
from dlgutils import attacks
from dlgutils.analytic import labels
from reproduce.tables import print_table

TURNS = 9
EAGER = 40  # evaluations a turn of the eager loop
LONG = 400  # evaluations of a long attack

Ways = dict[str, Callable[[], int]]
"""By name: what takes turns; each returns how many evaluations it made."""


def without_optimizer(model: nn.Module, shared: du.Shared) -> int:
    """EAGER evaluations of the reference loop's objective at one point; returns how many."""
    x = torch.randn(shared.x_shape, generator=Generator().manual_seed(0)).requires_grad_()
    y = labels.by_sign(shared)
    for _ in range(EAGER):
        x.grad = None
        reference.evaluate(model, shared, x, y)
    return EAGER


def with_optimizer(model: nn.Module, shared: du.Shared) -> int:
    """The reference loop for two iterations; returns how many evaluations that were."""
    loop = reference.iterations(model, shared, Generator().manual_seed(0))
    *_, (_, evaluations) = islice(loop, 2)
    return evaluations


def ours(model: nn.Module, shared: list[du.Shared], steps: int) -> int:
    """iDLG on all rounds in one call; returns how many evaluations that were."""
    attack(model, shared, steps, attacks.idlg)
    return steps * len(shared)


def ways() -> Ways:
    """The rows of the table, on the LeNet with PyTorch's initialisation."""
    model, shared = rounds(64, 32, 1, "cpu")
    model.load_state_dict(shared[0].weights, strict=False)
    return {
        "eager loop, without an optimiser": lambda: without_optimizer(model, shared[0]),
        "eager loop, with `torch.optim.LBFGS`": lambda: with_optimizer(model, shared[0]),
        "ours, 1 run, 100 evaluations": lambda: ours(model, shared[:1], 100),
        f"ours, 1 run, {LONG} evaluations": lambda: ours(model, shared[:1], LONG),
        "ours, 16 runs, 100 evaluations": lambda: ours(model, shared[:16], 100),
        "ours, 64 runs, 100 evaluations": lambda: ours(model, shared, 100),
    }


def milliseconds(work: Callable[[], int]) -> float:
    """CPU milliseconds for each evaluation of this work."""
    begin = time.process_time()
    evaluations = work()
    return 1e3 * (time.process_time() - begin) / evaluations


def rows(todo: Ways, turns: int) -> list[tuple[str, float, float]]:
    """Name, milliseconds, and ratio to the first of these ways, each warm, after some turns."""
    taken = {name: [] for name in todo}
    for _ in range(turns):
        for name, work in todo.items():
            taken[name].append(milliseconds(work))
    eager, *_ = taken.values()
    table = []
    for name, times in taken.items():
        ratios = [time / base for time, base in zip(times, eager, strict=True)]
        table.append((name, median(times), median(ratios)))
    return table


def main(turns: str = str(TURNS)) -> None:
    """Print the table, and what the first call of ours takes more than the others."""
    torch.set_num_threads(1)
    todo = ways()
    first = {name: milliseconds(work) for name, work in todo.items()}
    print(f"torch {torch.__version__}, one CPU thread, {turns} turns\n")
    table = rows(todo, int(turns))
    print_table(("", "CPU ms per run and evaluation", "ratio"), table)
    name, later, _ = table[2]
    more = 100 * (first[name] - later) / 1e3
    print(f"\nThe first call of one run took {more:.2f} CPU seconds more than the later ones.")


if __name__ == "__main__":
    main(*sys.argv[1:])
