"""One evaluation of DLG as it comes, traced, and as one CUDA graph; rows for `gpu`.

A CUDA graph launches all kernels of an evaluation with one call, so it tells how much of the time
of few runs is the processor's, which launches them.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch.func import grad_and_value, vmap

from benchmarks import speed
from benchmarks.attempts import attempt
from dlgutils import attacks, federated
from dlgutils.matching.problem import Problem
from dlgutils.matching.tracing import traced

HEAD = ("runs", "as it comes, ms", "traced, ms", "CUDA graph, ms", "largest difference")


def rows(drawn: Sequence[federated.Round], device: str, numbers: Sequence[int]) -> speed.Rows:
    """A row for each number of runs; without CUDA, the graph's cells are empty."""
    for runs in numbers:
        yield attempt(str(runs), len(HEAD), partial(cells, drawn[:runs], device))


def cells(drawn: Sequence[federated.Round], device: str) -> tuple[object, ...]:
    """Milliseconds of an evaluation in three ways, and how far the graph's slope is from ours."""
    model, shared = speed.moved(drawn, device)
    problem = Problem(model, shared, attacks.dlg, range(len(shared)), None)
    arguments = (problem.start, {}, problem.given)
    evaluate = vmap(grad_and_value(problem.objective))
    program = traced(evaluate, *arguments)
    ways = (partial(evaluate, *arguments), partial(program, *arguments))
    times = [1e3 * _seconds(way) for way in ways]
    if device != "cuda":
        return (*times, "–", "–")
    slope, _ = evaluate(*arguments)
    replay, (found, _) = captured(ways[1])
    replay()
    difference = float((found - slope).abs().max())
    return (*times, 1e3 * _seconds(replay), difference)


def captured(work: Callable[[], tuple]) -> tuple[Callable[[], None], tuple]:
    """A function that does the work again in one launch, and the tensors that it then fills.

    The work must use the same memory each time: what it is given stays where it is.
    """
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # PyTorch asks for a few calls before a capture, on a stream
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        filled = work()
    return graph.replay, filled


def _seconds(work: Callable[[], object]) -> float:
    work()  # kernels are chosen at the first call
    return speed.seconds(work)
