"""Linear algebra on another device: the closed form, and batches taken apart; rows for `gpu`."""

import time
from collections.abc import Sequence
from functools import partial

import torch

from benchmarks import agreement, speed
from benchmarks.attempts import attempt
from dlgutils import federated, metrics
from dlgutils.analytic import closed_form, separation

HEAD = ("", "labels right", "MSE < 1e-2", "difference from the CPU", "seconds", "CPU, seconds")


def rows(device: str, images: int = 4, size: int = 32) -> speed.Rows:
    """Closed form and separation on the device; the CPU solves only the first round."""
    one = agreement.masked_rounds(images, torch.float32, size)
    yield attempt("closed_form.recover", len(HEAD), partial(closed, one, device))
    two = agreement.masked_rounds(images, torch.float32, size, batch=2)
    yield attempt("separation.separate", len(HEAD), partial(separated, two, device))


def closed(drawn: Sequence[federated.Round], device: str) -> tuple[object, ...]:
    """How many images the closed form finds on a device, and in how many seconds each."""
    model, shared = speed.moved(drawn, device)
    begin = time.perf_counter()
    solved = [closed_form.recover(model, one) for one in shared]
    x = torch.stack([solution.x.cpu() for solution in solved])
    took = (time.perf_counter() - begin) / len(drawn)
    begin = time.perf_counter()
    wanted = closed_form.recover(drawn[0].model, drawn[0].shared).x
    on_cpu = time.perf_counter() - begin
    labels = torch.stack([solution.y.cpu() for solution in solved])
    mse = metrics.mse(x, torch.stack([one.secret.x for one in drawn]))
    right = labels == torch.stack([one.secret.y for one in drawn])
    rates = (str(metrics.success_rate(hit)) for hit in (right, mse < 1e-2))
    return (*rates, agreement.relative(x[:1], wanted[None]), took, on_cpu)


def separated(drawn: Sequence[federated.Round], device: str) -> tuple[object, ...]:
    """How many batches are separated with the right labels, and in how many seconds each."""
    model, shared = speed.moved(drawn, device)
    begin = time.perf_counter()
    readings = [separation.separate(model, one).reading for one in shared]
    took = (time.perf_counter() - begin) / len(drawn)
    right = []
    for one, reading in zip(drawn, readings, strict=True):
        wanted = one.secret.y.tolist()
        right.append(reading is not None and sorted(reading.y.tolist()) == sorted(wanted))
    begin = time.perf_counter()
    separation.separate(drawn[0].model, drawn[0].shared)
    on_cpu = time.perf_counter() - begin
    return str(metrics.success_rate(torch.tensor(right))), "–", "–", took, on_cpu
