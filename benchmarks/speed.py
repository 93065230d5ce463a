"""How fast, and how lean? Ours beside the public reference loop, on one CPU thread or one GPU.

`python -m benchmarks.speed [cpu|cuda]` prints four Markdown tables, measured in one run:
(a) milliseconds per run and evaluation, (b) recovered images per minute, (c) peak memory, (d) how
(a) grows with runs, image size and batch size.
"""

import copy
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from statistics import median

import torch
from torch import Generator, nn
from torch.nn.functional import avg_pool2d

import dlgutils as du
from benchmarks import memory, reference
from dlgutils import attacks, data, federated, metrics, models
from reproduce import recovery
from reproduce.tables import print_table

STEPS = 100
REPEATS = 3
RUNS = (1, 16, 64, 256)
SUCCESS = 1e-3  # MSE
OURS, THEIRS = 96, 12  # images of table (b)
DEFAULT = recovery.Setting("photos", models.init_default, attacks.idlg, (100,))
WIDE = recovery.Setting("photos", models.init_uniform, attacks.idlg, (300,))
GROWTH = (
    (1, 32, 1),
    (4, 32, 1),
    (16, 32, 1),
    (64, 32, 1),
    (256, 32, 1),
    (16, 16, 1),
    (16, 64, 1),
    (16, 32, 2),
    (16, 32, 4),
    (16, 32, 8),
)
"""Runs, image size and batch size of the rows of table (d)."""

Rows = Iterable[Sequence[object]]
"""What `table` prints."""


def rounds(runs: int, size: int, batch: int, device: str) -> tuple[nn.Module, list[du.Shared]]:
    """A LeNet with PyTorch's initialisation, and what its clients share of photographs.

    Args:
        runs: how many rounds; run k has seed k.
        size: of the images, in pixels.
        batch: images a round.
        device: of the model and the gradients.
    """
    photos = data.photos(size=max(size, 32))
    images = avg_pool2d(photos.x, photos.x.shape[-1] // size)
    model = models.lenet((3, size, size)).to(device)
    shared = []
    for k in range(runs):
        which = (torch.arange(batch) + k) % len(images)
        x = images[which].to(device)
        y = photos.y[which].to(device)
        generator = Generator().manual_seed(k)
        drawn = federated.honest(model, du.Batch(x, y), generator)
        shared.append(drawn.shared)
    return model, shared


def attack(
    model: nn.Module, shared: Sequence[du.Shared], steps: int, recipe: du.Attack = attacks.dlg
) -> du.Result:
    """The result of a recipe on all rounds in one call.

    Args:
        model: the network that the clients trained.
        shared: what they shared.
        steps: evaluations.
        recipe: the attack.
    """
    return du.invert(
        model,
        shared,
        recipe,
        seeds=range(len(shared)),
        steps=steps,
        frames=1,
        chunk=len(shared),
    )


def seconds(work: Callable[[], object], repeats: int | None = None) -> float:
    """The median time of some repetitions, REPEATS by default, until the device has finished."""
    times = []
    for _ in range(repeats or REPEATS):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return median(times)


def ours(runs: int, device: str, size: int = 32, batch: int = 1) -> float:
    """Milliseconds per run and evaluation: DLG from start to end, tracing included.

    Args:
        runs: how many go through one call.
        device: where.
        size: of the images, in pixels.
        batch: images a run.
    """
    model, shared = rounds(runs, size, batch, device)
    total = seconds(lambda: attack(model, shared, STEPS))
    return 1e3 * total / STEPS / runs


def theirs() -> float:
    """Milliseconds per evaluation of the reference loop, over about its first 100.

    On wide weights, where it does not stand still.
    """
    (one,) = recovery.draw_rounds(WIDE, 1)
    times = []
    for _ in range(REPEATS):
        loop = reference.iterations(one.model, one.shared, Generator().manual_seed(0))
        marks = []
        for _, evaluations in islice(loop, 6):
            marks.append((evaluations, time.perf_counter()))
        for (before, start), (after, end) in pairwise(marks):
            if after > before:
                times.append((end - start) / (after - before))
    return 1e3 * median(times)


def recovered(setting: recovery.Setting, device: str) -> tuple[int, float]:
    """How many of OURS images the library recovers in one call, and in how many seconds."""
    drawn = recovery.draw_rounds(setting, OURS)
    model, shared = moved(drawn, device)
    truth = torch.stack([one.secret.x for one in drawn])
    begin = time.perf_counter()
    result = attack(model, shared, setting.looks[0], setting.attack)
    mse = metrics.mse(result.x.cpu(), truth)
    found = int((mse < SUCCESS).sum())
    return found, time.perf_counter() - begin


def recovered_by_reference(setting: recovery.Setting) -> tuple[int, float]:
    """The same for the reference loop, image by image.

    An image ends as soon as it is recovered, which no attacker could know.
    """
    drawn = recovery.draw_rounds(setting, THEIRS)
    model = drawn[0].model
    begin = time.perf_counter()
    found = 0
    for k, one in enumerate(drawn):
        loop = reference.iterations(model, one.shared, Generator().manual_seed(k))
        truth = one.secret.x
        found += any(metrics.mse(x, truth) < SUCCESS for x, _ in loop)
    return found, time.perf_counter() - begin


def moved(drawn: Sequence[federated.Round], device: str) -> tuple[nn.Module, list[du.Shared]]:
    """The network and what was shared in these rounds, on a device."""
    model = copy.deepcopy(drawn[0].model).to(device)
    return model, [to(one.shared, device) for one in drawn]


def to(shared: du.Shared, device: str) -> du.Shared:
    """The round on another device."""
    weights = {name: tensor.to(device) for name, tensor in shared.weights.items()}
    gradient = {name: tensor.to(device) for name, tensor in shared.gradient.items()}
    return replace(shared, weights=weights, gradient=gradient)


def table(title: str, head: Sequence[str], rows: Rows) -> None:
    """Print a Markdown table row by row, as the rows come."""
    print(f"\n{title}\n", flush=True)
    print_table(head, rows)


def time_rows(device: str) -> Rows:
    """Table (a): the reference loop, then ours with more and more runs."""
    base = theirs()
    yield "reference loop, one run", base, 1.0
    for runs in RUNS:
        milliseconds = ours(runs, device)
        yield f"ours, {runs} runs", milliseconds, milliseconds / base


def recovered_rows(device: str) -> Rows:
    """Table (b): each side on both networks."""
    for network, setting in (("wide", WIDE), ("default", DEFAULT)):
        found, took = recovered(setting, device)
        name = f"ours, {setting.looks[0]} evaluations"
        yield network, name, f"{found} of {OURS}", took, 60 * found / took
        found, took = recovered_by_reference(setting)
        yield network, "reference loop", f"{found} of {THEIRS}", took, 60 * found / took


def growth_rows(device: str) -> Rows:
    """Table (d): the time of one evaluation, by runs, image size and batch size."""
    for runs, size, batch in GROWTH:
        yield runs, size, batch, ours(runs, device, size, batch)


def main(device: str = "cpu") -> None:
    """Print the four tables."""
    torch.set_num_threads(1)
    where = torch.cuda.get_device_name() if device == "cuda" else "one CPU thread"
    what = "100 evaluations of DLG on the LeNet unless stated otherwise"
    print(f"torch {torch.__version__}, {where}; {what}")
    head = ("", "ms per run and evaluation", "ratio")
    table("(a) Time", head, time_rows(device))
    head = ("network", "attack", "recovered (MSE < 1e-3)", "seconds", "images per minute")
    table("(b) Recovered images", head, recovered_rows(device))
    head = ("runs", "MB above the 0 runs of the first row", "MB a run")
    table("(c) Peak memory on the CPU", head, memory.rows(RUNS))
    head = ("runs", "image size", "batch", "ms per run and evaluation")
    table("(d) Growth", head, growth_rows(device))


if __name__ == "__main__":
    main(*sys.argv[1:])
