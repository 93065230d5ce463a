"""The one engine: any gradient-matching attack, many runs at once, wherever the gradients lie."""

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import index

import torch
from torch import Generator, Tensor, nn
from torch.func import grad_and_value, vmap
from torch.utils._pytree import tree_map_only
from tqdm.auto import tqdm

from dlgutils.federated.checks import check
from dlgutils.matching.problem import Problem
from dlgutils.matching.record import Record, frame_schedule, join
from dlgutils.matching.tracing import traced
from dlgutils.types import Attack, Result, Shared, nothing

Watch = Callable[[int, Tensor, Tensor], object]
"""(evaluations so far, best losses (runs,), current images (runs, batch, ...)) -> true to stop."""

_LOOK = 16  # evaluations between two looks at which runs have stopped: a look waits for the device
_TRACE_PAYS = 3000  # evaluations · (runs + 8) to come: then tracing costs less than it saves


def invert(
    model: nn.Module,
    shared: Shared | Sequence[Shared],
    attack: Attack,
    generator: Generator | None = None,
    *,
    seeds: Sequence[int] | None = None,
    start: Tensor | None = None,
    steps: int = 300,
    frames: int = 24,
    chunk: int = 256,
    progress: bool = False,
    watch: Watch | None = None,
) -> Result:
    """Reconstruct images from shared gradients by gradient matching: a `Result`, one run per `Shared`.

    Images, seeds, restarts and initialisations are all the same axis: pass a list, such as
    `[shared] * 4` for four restarts of an attack whose start is random; all must have the same
    shapes. Every run has its own optimiser state and its own generator, so no run changes another;
    one whose loss is not finite tries shorter steps (line search) or stops where it is. Device and
    dtype are those of the gradients; the attacker works on a copy of `model` moved there.

    Args:
        model: the network that the client trained.
        shared: what the server saw of one round, or of many.
        attack: the recipe, such as `attacks.idlg`.
        generator: on the CPU; draws a seed for each run.
        seeds: the seeds themselves, one for each run. Run k of a result is the same alone:
            `invert(model, shared[k], attack, seeds=[result.seeds[k]])`.
        start: images to start from instead of the attack's own, (runs, batch, channels, height,
            width), such as the `x` of another result.
        steps: evaluations of the matching loss and its slope.
        frames: the most pictures in the film after the start, at steps that grow like squares.
        chunk: the most runs at once, which bounds the memory; halved with a warning if need be.
        progress: show a tqdm bar.
        watch: called after every evaluation with the runs of the chunk; may stop the attack.

    Ctrl-C, or a watch that returns true, returns what was found so far with `complete=False`.
    Raises ValueError for gradients that are not of this model, not finite or all zero, for rounds of
    different shapes, for steps, frames or chunk below 1, for an attack that draws random numbers
    when neither a generator nor seeds came, for both of them, and for a generator that is not on the
    CPU. Raises MemoryError if even one run is too large.
    """
    rounds = [shared] if isinstance(shared, Shared) else list(shared)
    _check(model, rounds, start, steps=steps, frames=frames, chunk=chunk)
    seeds = _seeds(generator, seeds, len(rounds))
    like = rounds[0].like
    model = copy.deepcopy(model).to(like)
    schedule = frame_schedule(steps, frames)
    parts: list[Result] = []

    def attack_runs(here: slice) -> Result:
        begin = None if start is None else start[here]
        problem = Problem(model, rounds[here], attack, seeds[here], begin)
        going_on = all(part.complete for part in parts)
        return _descend(problem, steps if going_on else 0, schedule, bar, watch)

    with _one_thread(like), _bar(attack, steps * len(rounds), progress) as bar:
        for part in _in_chunks(attack_runs, len(rounds), chunk):
            parts.append(part)
    return join(parts, seeds)


def _in_chunks(work: Callable[[slice], Result], runs: int, chunk: int) -> Iterator[Result]:
    """What `work` returns for chunk after chunk of the runs; without memory, chunks are halved."""
    done = 0
    while done < runs:
        try:
            part = work(slice(done, done + chunk))
        except RuntimeError as error:
            if not _lacks_memory(error):
                raise
            chunk = _halved(chunk)
        else:
            done += chunk
            yield part


def _descend(
    problem: Problem, steps: int, schedule: set[int], bar: tqdm, watch: Watch | None
) -> Result:
    """All runs of one problem, from their starts to their ends, or to Ctrl-C."""
    record = Record(problem, schedule)
    complete = False
    try:
        complete = _iterate(problem, record, steps, bar, watch)
    except KeyboardInterrupt:
        pass  # the record has every evaluation that was finished
    return record.result(complete)


def _iterate(problem: Problem, record: Record, steps: int, bar: tqdm, watch: Watch | None) -> bool:
    """Evaluate and move all runs, `steps` times. Returns whether they came to their ends.

    Runs that have stopped leave when they are half of all.
    """
    draw, optimizer, given = problem.attack.draw, problem.attack.optimizer, problem.given
    evaluate = _traced_where_it_pays(vmap(grad_and_value(problem.objective)))
    state = optimizer.init(problem.start)
    running = torch.arange(len(problem.start), device=problem.start.device)
    for evaluation in range(steps):
        drawn = {} if draw is nothing else problem.draw(running.tolist())
        slope, value = evaluate(steps - evaluation, state.trial, drawn, given)
        trial, alive = state.trial, state.alive
        state = optimizer.update(state, value, slope)
        record.add(running, trial, value, alive, state.z)
        _advance(bar, record)
        if watch and watch(record.evaluations, record.best_loss, record.images()):
            return False
        if evaluation % _LOOK == _LOOK - 1:
            left = state.alive.nonzero()[:, 0]
            if not len(left):
                return True
            if 2 * len(left) <= len(running):
                state, given, running = _only(left, (state, given, running))
    return steps > 0


def _traced_where_it_pays(function: Callable) -> Callable:
    """The function, traced once for each number of runs if enough evaluations are to come."""
    chosen: dict[int, Callable] = {}

    def evaluate(to_come: int, *args: object) -> tuple[Tensor, Tensor]:
        runs = len(args[0])
        if runs not in chosen:
            pays = to_come * (runs + 8) >= _TRACE_PAYS
            chosen[runs] = traced(function, *args) if pays else function
        return chosen[runs](*args)

    return evaluate


def _only(runs: Tensor, tensors: tuple) -> tuple:
    return tree_map_only(Tensor, lambda t: t[runs], tensors)


def _lacks_memory(error: RuntimeError) -> bool:
    cuda = isinstance(error, torch.cuda.OutOfMemoryError)
    return cuda or "can't allocate memory" in str(error)


def _halved(chunk: int) -> int:
    if chunk == 1:
        raise MemoryError(
            "one run alone does not fit into memory; "
            "use a shorter history: optimizers.lbfgs(history=20)"
        )
    warnings.warn(
        f"out of memory with {chunk} runs at once; going on with {chunk // 2}", stacklevel=4
    )
    return chunk // 2


def _check(
    model: nn.Module, rounds: Sequence[Shared], start: Tensor | None, **numbers: int
) -> None:
    for name, number in {**numbers, "rounds": len(rounds)}.items():
        if number < 1:
            raise ValueError(f"an attack needs at least 1 of {name}, got {number}")
    check(model, *rounds)
    dtypes = sorted({str(shared.like.dtype) for shared in rounds})
    shapes = sorted({tuple(shared.x_shape) for shared in rounds})
    for what, kinds in (("dtypes", dtypes), ("shapes", shapes)):
        if len(kinds) > 1:
            raise ValueError(
                f"rounds of different {what}, {kinds}, cannot run together; invert them one by one"
            )
    wanted = (len(rounds), *rounds[0].x_shape)
    if start is not None and start.shape != wanted:
        raise ValueError(
            f"a start for these rounds has the shape {wanted}, runs first, got {tuple(start.shape)}"
        )


def _seeds(generator: Generator | None, seeds: Sequence[int] | None, runs: int) -> list[int]:
    """One seed per run, so that what a run draws does not depend on its company; -1: it draws none."""
    if generator is not None and seeds is not None:
        raise ValueError("a generator draws the seeds, and seeds came as well; pass one of the two")
    if generator is None and seeds is None:
        return [-1] * runs
    if seeds is None:
        if not isinstance(generator, Generator) or generator.device.type != "cpu":
            raise ValueError(
                f"an attack draws from a generator on the CPU, got {generator!r}; "
                "pass torch.Generator().manual_seed(0), or seeds=[...], one for each run"
            )
        return torch.randint(2**62, (runs,), generator=generator).tolist()
    try:
        seeds = [index(seed) for seed in seeds]
    except TypeError as error:
        raise ValueError(
            f"seeds are whole numbers, got {seeds!r}; pass seeds=[0], one for each run"
        ) from error
    if len(seeds) != runs:
        raise ValueError(
            f"{len(seeds)} seeds came for {runs} runs; pass one for each, or a generator for all"
        )
    return seeds


def _bar(attack: Attack, total: int, progress: bool) -> tqdm:
    return tqdm(
        total=total,
        desc=attack.name,
        unit=" evaluations",
        unit_scale=True,
        disable=not progress,
    )


def _advance(bar: tqdm, record: Record) -> None:
    bar.update(len(record.best_loss))
    if not bar.disable:
        best, median = record.best_loss.min(), record.best_loss.median()
        bar.set_postfix(best=f"{best:.1e}", median=f"{median:.1e}", refresh=False)


@contextmanager
def _one_thread(like: Tensor) -> Iterator[None]:
    """On a CPU, one thread: networks this small are slowed down by more. The number is restored."""
    threads = torch.get_num_threads()
    if like.device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
