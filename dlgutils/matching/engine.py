"""The one engine: any gradient-matching attack, many runs at once, wherever the gradients lie."""

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Generator, Tensor, nn
from tqdm.auto import tqdm

from dlgutils.federated.alignment import align
from dlgutils.federated.consistency import settle
from dlgutils.matching.all_runs import lacks_memory
from dlgutils.matching.allocation import freed_memory_kept
from dlgutils.matching.blindness import warn_if_blind
from dlgutils.matching.descent import Watch, descend
from dlgutils.matching.inputs import (
    check_attack,
    check_rounds,
    check_sought_targets,
    run_seeds,
)
from dlgutils.matching.problem import Problem
from dlgutils.matching.record import frame_schedule, join
from dlgutils.types import Attack, Result, Shared


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
    """Reconstruct images from shared gradients by gradient matching: one run per `Shared`.

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

    What is attacked is the update that the round's `Protocol` describes. Before that it is checked
    against the protocol as far as the classifier's gradient allows; `Result.checked` says what was
    checked. The defences in it are repeated on every guess, `federated.defenses.imitate`; for an
    attacker who does not know them, the protocol has `defenses.unknown()` instead. A network
    whose gradient hardly depends on the image is worth a warning.

    Ctrl-C, or a watch that returns true, returns what was found so far with `complete=False`.
    Raises ValueError for gradients that are not of this model, not finite or all zero, for updates
    that are not what their protocol says, for rounds of different shapes or protocols, for steps,
    frames or chunk below 1, for an attack that draws random numbers when neither a generator nor
    seeds came, for both of them, and for a generator that is not on the CPU. Raises MemoryError if
    even one run is too large.
    """
    check_attack(attack)
    rounds = list(shared) if isinstance(shared, Iterable) else [shared]
    model, rounds = align(model, *rounds)
    check_rounds(model, rounds, start, {"steps": steps, "frames": frames, "chunk": chunk})
    distinct = {id(shared): shared for shared in rounds}  # restarts repeat one round
    settled = {key: settle(model, shared) for key, shared in distinct.items()}
    rounds = [settled[id(shared)] for shared in rounds]
    seeds = run_seeds(generator, seeds, len(rounds))
    like = rounds[0].like
    model = copy.deepcopy(model).to(like)
    schedule = frame_schedule(steps, frames)
    parts: list[Result] = []

    def attack_runs(here: slice) -> Result:
        begin = None if start is None else start[here]
        problem = Problem(model, rounds[here], attack, seeds[here], begin)
        if not parts:
            check_sought_targets(problem)
            warn_if_blind(problem)
        going_on = all(part.complete for part in parts)
        return descend(problem, steps if going_on else 0, schedule, bar, watch)

    with (
        _one_thread(like),
        freed_memory_kept(),
        _bar(attack, steps * len(rounds), progress) as bar,
    ):
        for part in _in_chunks(attack_runs, len(rounds), chunk):
            parts.append(part)
    checked = "; ".join(sorted({shared.checked for shared in rounds}))
    return replace(join(parts, seeds), checked=checked)


def _in_chunks(work: Callable[[slice], Result], runs: int, chunk: int) -> Iterator[Result]:
    """What `work` returns for chunk after chunk of the runs; without memory, chunks are halved."""
    done = 0
    while done < runs:
        try:
            part = work(slice(done, done + chunk))
        except RuntimeError as error:
            if not lacks_memory(error):
                raise
            chunk = _halved(chunk)
        else:
            done += chunk
            yield part


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


def _bar(attack: Attack, total: int, progress: bool) -> tqdm:
    return tqdm(
        total=total, desc=attack.name, unit=" evaluations", unit_scale=True, disable=not progress
    )


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
