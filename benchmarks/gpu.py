"""What does a GPU change? Correctness first, then time, beside one thread of the same machine.

`python -m benchmarks.gpu [cuda|cpu] [--small] [--seconds 450]` prints Markdown tables: (1) what the
device computes beside the CPU; (2) DLG with more and more runs in one call; (3) recovered images
per minute, features among them; (4) where the time of one evaluation goes; (5) one evaluation as a
CUDA graph; (6) the same as (2) on one CPU thread. A row that fails shows its error, and the others
still come; tracebacks stand at the end. Rows that do not fit into the seconds are left out, and say
so. `--small` takes a few runs of ten evaluations, to try the program on a CPU.

TF32 is switched off, except in rows that say otherwise: see `agreement`. All rounds are drawn on
the CPU, and moved before the clock starts.
"""

import argparse
import math
import platform
import sys
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.func import grad_and_value, vmap

from benchmarks import agreement, cuda_graphs, speed, without_descent
from benchmarks.attempts import FAILURES, allow, attempt
from dlgutils import attacks, federated, metrics
from dlgutils.matching.problem import Problem
from dlgutils.matching.tracing import traced
from reproduce import recovery

DLG = speed.DEFAULT._replace(attack=attacks.dlg)
MEGABYTE = 2**20
TIME_HEAD = (
    "runs",
    "seconds",
    "ms per run and evaluation",
    "recovered (MSE < 1e-3)",
    "images per minute",
    "peak GPU memory, MB",
    "MB a run",
)
COST_HEAD = (
    "runs",
    "a call of 1 evaluation, s",
    "objective as it comes, ms",
    "traced, ms",
    "traced, without im2col, ms",
    "L-BFGS, full history, ms",
)


class Plan(NamedTuple):
    """What is measured."""

    runs: tuple[int, ...] = (1, 16, 64, 256, 1024, 4096)
    cpu_runs: tuple[int, ...] = (1, 16, 64)
    cost_runs: tuple[int, ...] = (1, 64, 1024)
    steps: int = speed.STEPS
    drawn: int = 1024  # different rounds; more runs take each of them several times
    found: int = 96
    few: int = 12
    closed: int = 4
    size: int = 32  # pixels, for the closed form
    history: int = 100  # pairs of L-BFGS


SMALL = Plan((1, 4), (1, 4), (1, 4), 10, 4, found=4, few=2, closed=1, size=16, history=10)


def invert_again(
    setting: recovery.Setting, drawn: Sequence[federated.Round], runs: int, device: str
) -> tuple[Tensor, float]:
    """Which of the different rounds come back, (runs or fewer,), and the median seconds of a call.

    Args:
        setting: the attack and its evaluations.
        drawn: the different rounds.
        runs: in one call.
        device: where.
    """
    different = drawn[:runs]
    model, shared = speed.moved(different, device)
    shared = (shared * -(-runs // len(shared)))[:runs]
    results = []

    def work() -> None:
        results[:] = [speed.attack(model, shared, setting.looks[0], setting.attack)]

    long = runs > (16 if device == "cpu" else 1024)
    took = speed.seconds(work, repeats=1 if long else None)
    truth = torch.stack([one.secret.x for one in different])
    mse = metrics.mse(results[0].x[: len(different)].cpu(), truth)
    return (mse < speed.SUCCESS)[:, 0], took


def timed(
    setting: recovery.Setting, drawn: Sequence[federated.Round], runs: int, device: str
) -> tuple[object, ...]:
    """The cells of a row of time; the arguments are those of `invert_again`."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    hits, took = invert_again(setting, drawn, runs, device)
    memory = ("–", "–")
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated() / MEGABYTE
        memory = (f"{peak:.0f}", f"{peak / runs:.2f}")
    each = 1e3 * took / setting.looks[0] / runs
    per_minute = 60 * float(hits.float().mean()) * runs / took
    return took, each, str(metrics.success_rate(hits)), per_minute, *memory


def time_rows(plan: Plan, drawn: Sequence[federated.Round], device: str) -> speed.Rows:
    """Tables (2) and (6): DLG with more and more runs in one call."""
    setting = DLG._replace(looks=(plan.steps,))
    for runs in plan.cpu_runs if device == "cpu" else plan.runs:
        yield attempt(str(runs), len(TIME_HEAD), partial(timed, setting, drawn, runs, device))


def recovered_rows(plan: Plan, photos: Sequence[federated.Round], device: str) -> speed.Rows:
    """Table (3): iDLG and features on default weights, on photographs and on fruits."""
    kinds = (("photos", attacks.idlg), ("fruits", attacks.idlg), ("photos", attacks.features))
    for images, recipe in kinds:
        setting = speed.DEFAULT._replace(images=images, attack=recipe, looks=(plan.steps,))

        def work(setting: recovery.Setting = setting) -> tuple[object, ...]:
            same = setting.images == "photos"
            drawn = photos if same else recovery.draw_rounds(setting, plan.drawn)
            return timed(setting, drawn, plan.drawn, device)

        yield attempt(f"{recipe.name}, {images}, {plan.drawn}", len(TIME_HEAD), work)


def cost(drawn: Sequence[federated.Round], device: str, history: int) -> tuple[float, ...]:
    """Seconds of a call of one evaluation, then milliseconds of the parts of one, of DLG.

    An operation that cuts images into patches, im2col, may be launched image by image on a GPU:
    the fourth number is that of a function which reads the patches by index instead.
    """
    model, shared = speed.moved(drawn, device)
    attack = attacks.dlg
    seeds = range(len(shared))
    set_up = speed.seconds(lambda: speed.attack(model, shared, 1), repeats=1)
    problem = Problem(model, shared, attack, seeds, None)
    arguments = (problem.start, {}, problem.given)
    evaluate = vmap(grad_and_value(problem.objective))
    by_index = get_decompositions([torch.ops.aten.im2col])
    ways = (evaluate, traced(evaluate, *arguments))
    ways = (*ways, traced(evaluate, *arguments, decompositions=by_index))
    slope, value = evaluate(*arguments)
    state = attack.optimizer.init(problem.start)
    for k in range(history):
        state = attack.optimizer.update(state, value / (k + 1), slope / (k + 1))
    times = []
    for way in ways:
        way(*arguments)
        times.append(speed.seconds(lambda way=way: way(*arguments)))
    times.append(speed.seconds(lambda: attack.optimizer.update(state, value * 1e-3, slope)))
    return set_up, *[1e3 * t for t in times]


def cost_rows(plan: Plan, drawn: Sequence[federated.Round], device: str) -> speed.Rows:
    """Table (4): what one evaluation of DLG takes, part by part."""
    for runs in plan.cost_runs:
        work = partial(cost, drawn[:runs], device, plan.history)
        yield attempt(str(runs), len(COST_HEAD), work)


def correctness(plan: Plan, device: str) -> None:
    """Print the tables (1)."""
    small = plan is SMALL
    title = "(1a) float64: largest relative difference from the CPU"
    runs, steps = (1, 2) if small else (4, 10)
    speed.table(title, agreement.RECIPE_HEAD, agreement.recipe_rows(device, runs, steps))
    title = "(1b) Largest relative difference of a client's float32 gradient"
    rows = agreement.client_rows(device, plan.few)
    speed.table(title, ("convolutions", "difference"), rows)
    rows = agreement.found_rows(device, plan.found, plan.few, plan.steps)
    speed.table(f"(1c) {plan.steps} evaluations", agreement.FOUND_HEAD, rows)
    rows = without_descent.rows(device, plan.closed, plan.size)
    title = f"(1d) Without descent, {plan.size}×{plan.size} pixels, float32; seconds a round"
    speed.table(title, without_descent.HEAD, rows)


def times(plan: Plan, device: str) -> None:
    """Print the tables (2) to (6)."""
    drawn = recovery.draw_rounds(DLG, plan.drawn)
    what = f"DLG, {plan.steps} evaluations"
    speed.table(f"(2) {what}", TIME_HEAD, time_rows(plan, drawn, device))
    rows = recovered_rows(plan, drawn, device)
    head = ("attack, images, runs", *TIME_HEAD[1:])
    speed.table(f"(3) Images, {plan.steps} evaluations", head, rows)
    rows = cost_rows(plan, drawn, device)
    speed.table("(4) One evaluation of DLG", COST_HEAD, rows)
    rows = cuda_graphs.rows(drawn, device, plan.cost_runs)
    speed.table("(5) The same as a CUDA graph", cuda_graphs.HEAD, rows)
    if device != "cpu":
        speed.table(f"(6) {what}, one CPU thread", TIME_HEAD, time_rows(plan, drawn, "cpu"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; 1 if a row failed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("device", nargs="?", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--seconds", type=float, default=450, help="for all rows together")
    parser.add_argument("--small", action="store_true", help="a few runs, ten evaluations")
    chosen = parser.parse_args(arguments)
    device, plan = chosen.device, SMALL if chosen.small else Plan()
    torch.set_num_threads(1)
    FAILURES.clear()
    allow(chosen.seconds)
    name = torch.cuda.get_device_name() if device == "cuda" else "one CPU thread"
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    convolutions = torch.backends.cudnn.allow_tf32
    products = torch.backends.cuda.matmul.allow_tf32
    print(
        f"{name}; {versions}; float32 unless stated otherwise, without TF32 (by default here, "
        f"convolutions: {convolutions}, products: {products}); LeNet, 32×32 pixels",
        flush=True,
    )
    with agreement.tf32(False):
        correctness(plan, device)
        times(plan, device)
    allow(math.inf)
    print(f"\n{len(FAILURES)} rows failed", *FAILURES, sep="\n\n", flush=True)
    return int(bool(FAILURES))


if __name__ == "__main__":
    sys.exit(main())
