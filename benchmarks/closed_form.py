"""How long does the closed form take, and how much memory? For each network, one image a round.

`python -m benchmarks.closed_form [images]` prints a Markdown table. What counts is the CPU time of
this process on one thread, in medians over some held-out fruits, and beside it the time that
PyTorch takes for one Cholesky factor of 3 072 unknowns, which takes turns with it: a busy machine
slows both. With all cores it is the time on the clock that counts, so let nothing else run. The
peak of memory comes from a process of its own, on Linux. Trained networks that are not in
`_build/networks` are trained first, for a minute or two.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from statistics import median
from typing import NamedTuple

import joblib
import torch
from torch import nn

import dlgutils as du
from dlgutils import metrics
from dlgutils.analytic import closed_form
from reproduce.inputs import all_images, one_image
from reproduce.tables import print_table
from reproduce.trained_networks import Training, held_out, trained

IMAGES = 5
UNKNOWNS = 3072  # of a 32×32 image, and of the second convolution of a LeNet
NETWORKS = ("LeNet, sigmoid", "LeNet, ReLU")
EPOCHS = (0, 1, 30)
DTYPES = {"single": torch.float32, "double": torch.float64}
STATUS = Path("/proc/self/status")


def rounds(
    network: str, epochs: int, precision: str, images: int
) -> tuple[nn.Module, list[du.Batch], list[du.Shared]]:
    """A network, held-out fruits, and a round of each.

    Args:
        network: one of NETWORKS.
        epochs: of training.
        precision: a key of DTYPES, of images, weights and gradients.
        images: how many.
    """
    dtype = DTYPES[precision]
    model = trained(Training(network), epochs).to(dtype)
    everything = all_images("fruits")
    secrets = []
    for row in held_out("fruits")[:images].tolist():
        one = one_image(everything, row)
        secrets.append(du.Batch(one.x.to(dtype), one.y))
    return model, secrets, [du.share(model, secret) for secret in secrets]


def yardstick() -> Callable[[], object]:
    """PyTorch's Cholesky factor of UNKNOWNS in double precision."""
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(UNKNOWNS, UNKNOWNS, generator=generator, dtype=torch.float64)
    matrix = (root @ root.T).add_(torch.eye(UNKNOWNS), alpha=UNKNOWNS)
    return lambda: torch.linalg.cholesky(matrix)


class Taken(NamedTuple):
    """What one image took, and how wrong it is."""

    seconds: float
    yardstick: float  # seconds
    on_all_cores: float  # seconds on the clock
    error: float  # MSE


def measured(
    model: nn.Module, secret: du.Batch, shared: du.Shared, factorise: Callable[[], object]
) -> Taken:
    """One image by the closed form, and the yardstick.

    Args:
        model: the network.
        secret: the image.
        shared: the round.
        factorise: the yardstick.
    """
    begin = time.process_time()
    found = closed_form.recover(model, shared)
    middle = time.process_time()
    factorise()
    end = time.process_time()
    error = float(metrics.mse(found.x, secret.x))
    return Taken(middle - begin, end - middle, on_all_cores(model, shared), error)


def on_all_cores(model: nn.Module, shared: du.Shared) -> float:
    """How many seconds one image takes on the clock, with a thread for each core."""
    torch.set_num_threads(joblib.cpu_count())
    begin = time.perf_counter()
    closed_form.recover(model, shared)
    seconds = time.perf_counter() - begin
    torch.set_num_threads(1)
    return seconds


def rows(images: int) -> Iterator[tuple[object, ...]]:
    """A row for each network: seconds, ratio to the yardstick, all cores, memory, worst error."""
    factorise = yardstick()
    for network, epochs, precision in product(NETWORKS, EPOCHS, DTYPES):
        model, secrets, shared = rounds(network, epochs, precision, images)
        pairs = zip(secrets, shared, strict=True)
        taken = [measured(model, secret, one, factorise) for secret, one in pairs]
        name = f"{network}, {epochs} epochs, {precision}"
        seconds = median(one.seconds for one in taken)
        ratio = median(one.seconds / one.yardstick for one in taken)
        together = median(one.on_all_cores for one in taken)
        memory = peak(network, epochs, precision)
        yield name, seconds, ratio, together, memory, max(one.error for one in taken)


def peak(network: str, epochs: int, precision: str) -> float:
    """How many megabytes one image needs above a process that is ready to begin."""
    call = f"print_peak({network!r}, {epochs}, {precision!r})"
    command = [sys.executable, "-c", f"from benchmarks.closed_form import *; {call}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(ended.stdout)


def print_peak(network: str, epochs: int, precision: str) -> None:
    """Print how many megabytes one image needs, in a process that has done nothing else."""
    torch.set_num_threads(1)
    model, _, (one,) = rounds(network, epochs, precision, 1)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _megabytes("VmRSS")
    closed_form.recover(model, one)
    print(_megabytes("VmHWM") - before)


def _megabytes(name: str) -> float:
    """A number of Linux about this process."""
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def main(images: str = str(IMAGES)) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one CPU thread, {images} images a row\n")
    cores = f"s on {joblib.cpu_count()} cores"
    head = "", "CPU s", "ratio to one Cholesky factor", cores, "MB", "worst MSE"
    print_table(head, rows(int(images)))


if __name__ == "__main__":
    main(*sys.argv[1:])
