"""How fast, and how lean? Ours beside the public reference loop, measured in one run, on one CPU thread or one GPU.

`python -m benchmarks.speed [cpu|cuda]` prints four Markdown tables: (a) milliseconds per run and evaluation, (b) recovered
images per minute, (c) peak memory, (d) how (a) grows with runs, image size and batch size.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from statistics import median

import torch
from torch import Generator
from torch.nn.functional import avg_pool2d

import dlgutils as du
from benchmarks import recovery, reference
from dlgutils import attacks, data, metrics, models

STEPS = 100
REPEATS = 3
RUNS = (1, 16, 64, 256)
SUCCESS = 1e-3  # MSE
OURS, THEIRS = 96, 12  # images of table (b)
DEFAULT = recovery.Setting("photos", models.init_default, attacks.idlg, (100,))
WIDE = recovery.Setting("photos", models.init_uniform, attacks.idlg, (300,))

PEAK = """
import sys, torch
from pathlib import Path
from benchmarks import speed
torch.set_num_threads(1)
runs = int(sys.argv[1])
if runs:
    speed.attack(*speed.rounds(runs, 32, 1, "cpu"), steps=speed.STEPS)
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line))
"""


def rounds(
    runs: int, size: int, batch: int, device: str
) -> tuple[torch.nn.Module, list[du.Shared]]:
    """A LeNet with PyTorch's initialisation, and honest rounds of photographs, run k with seed k."""
    photos = data.photos(size=max(size, 32))
    x = avg_pool2d(photos.x, photos.x.shape[-1] // size)
    model, shared = models.lenet((3, size, size)).to(device), []
    for k in range(runs):
        which = (torch.arange(batch) + k) % len(x)
        secret = du.Batch(x[which].to(device), photos.y[which].to(device))
        shared.append(du.share(models.init_default(model, Generator().manual_seed(k)), secret))
    return model, shared


def attack(model: torch.nn.Module, shared: list[du.Shared], steps: int) -> du.Result:
    """All rounds in one call."""
    return du.invert(
        model, shared, attacks.dlg, range(len(shared)), steps=steps, frames=1, chunk=len(shared)
    )


def seconds(work: Callable[[], object]) -> float:
    """Median over a few repetitions, once the device is at rest."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return median(times)


def ours(runs: int, device: str, size: int = 32, batch: int = 1) -> float:
    """Milliseconds per run and evaluation: 100 evaluations of DLG from start to end, tracing included."""
    model, shared = rounds(runs, size, batch, device)
    return 1e3 * seconds(lambda: attack(model, shared, STEPS)) / STEPS / runs


def theirs() -> float:
    """Milliseconds per evaluation of the reference loop, over its first 100 or so, on wide weights where it goes on."""
    model, shared, _ = recovery.honest_round(WIDE, 0, recovery.pool("photos"))
    times = []
    for _ in range(REPEATS):
        loop = reference.iterations(model, shared, Generator().manual_seed(0))
        marks = [(next(loop)[1], time.perf_counter()) for _ in range(6)]
        times += [(then - now) / (n - m) for (m, now), (n, then) in pairwise(marks) if n > m]
    return 1e3 * median(times)


def recovered(setting: recovery.Setting, device: str) -> tuple[int, float]:
    """How many of the images ours recovers in one call, and in how many seconds."""
    model, shared, secrets = drawn(setting, OURS)
    model, shared = model.to(device), [to(s, device) for s in shared]
    begin = time.perf_counter()
    result = du.invert(model, shared, setting.attack, range(OURS), steps=setting.looks[0], frames=1)
    mse = metrics.mse(result.x.cpu(), torch.stack([s.x for s in secrets]))
    return int((mse < SUCCESS).sum()), time.perf_counter() - begin


def recovered_by_reference(setting: recovery.Setting) -> tuple[int, float]:
    """The same for the reference loop, whose clock stops as soon as an image is there: more than an attacker can do."""
    model, shared, secrets = drawn(setting, THEIRS)
    begin, found = time.perf_counter(), 0
    for k, (round_, secret) in enumerate(zip(shared, secrets, strict=True)):
        loop = reference.iterations(model, round_, Generator().manual_seed(k))
        found += any(metrics.mse(x, secret.x).item() < SUCCESS for x, _ in loop)
    return found, time.perf_counter() - begin


def drawn(
    setting: recovery.Setting, images: int
) -> tuple[torch.nn.Module, list[du.Shared], list[du.Batch]]:
    """The rounds of seeds 0, 1, …"""
    everything = recovery.pool(setting.images)
    nets, shared, secrets = zip(
        *(recovery.honest_round(setting, k, everything) for k in range(images)), strict=True
    )
    return nets[0], list(shared), list(secrets)


def to(shared: du.Shared, device: str) -> du.Shared:
    """The round on another device."""
    weights, gradient = (
        {n: t.to(device) for n, t in tensors.items()}
        for tensors in (shared.weights, shared.gradient)
    )
    return replace(shared, weights=weights, gradient=gradient)


def peak(runs: int) -> float:
    """Megabytes that a process of its own needed at most (on Linux)."""
    out = subprocess.run(
        [sys.executable, "-c", PEAK, str(runs)], capture_output=True, text=True, check=True
    ).stdout
    return int(out) / 1024


def table(title: str, head: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a Markdown table row by row, as the rows come."""
    head = list(head)
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
    for row in rows:
        print(
            "|",
            " | ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row),
            "|",
            flush=True,
        )


def main(device: str = "cpu") -> None:
    """Print the four tables."""
    torch.set_num_threads(1)
    where = torch.cuda.get_device_name() if device == "cuda" else "one CPU thread"
    print(
        f"torch {torch.__version__}, {where}; 100 evaluations of DLG on the LeNet unless stated otherwise"
    )
    base = theirs()
    rows = ((f"ours, {runs} runs", ms := ours(runs, device), ms / base) for runs in RUNS)
    head = ("", "ms per run and evaluation", "ratio")
    table("(a) Time", head, [("reference loop, one run", base, 1.0), *rows])
    head = ("network", "attack", "recovered (MSE < 1e-3)", "seconds", "images per minute")
    table("(b) Recovered images", head, recovered_rows(device))
    base = peak(0)
    head = ("runs", "MB above the 0 runs of the first row", "MB a run")
    rows = ((runs, mb := peak(runs) - base, mb / runs) for runs in RUNS)
    table("(c) Peak memory on the CPU", head, [(0, base, "–"), *rows])
    head = ("runs", "image size", "batch", "ms per run and evaluation")
    cases = [
        *((runs, 32, 1) for runs in (1, 4, 16, 64, 256)),
        (16, 16, 1),
        (16, 64, 1),
        *((16, 32, b) for b in (2, 4, 8)),
    ]
    table(
        "(d) Growth",
        head,
        ((runs, size, b, ours(runs, device, size, b)) for runs, size, b in cases),
    )


def recovered_rows(device: str) -> Iterable[tuple]:
    """Table (b): each side on both networks."""
    for network, setting in (("wide", WIDE), ("default", DEFAULT)):
        found, time_ = recovered(setting, device)
        yield (
            network,
            f"ours, {setting.looks[0]} evaluations",
            f"{found} of {OURS}",
            time_,
            60 * found / time_,
        )
        found, time_ = recovered_by_reference(setting)
        yield network, "reference loop", f"{found} of {THEIRS}", time_, 60 * found / time_


if __name__ == "__main__":
    main(*sys.argv[1:])
