"""The one engine: any gradient-matching attack, any number of runs at once, wherever the gradients lie."""

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from operator import index
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.func import grad_and_value, vmap
from torch.nn.functional import pad
from torch.utils._pytree import tree_map_only
from tqdm.auto import tqdm

from dlgutils import client
from dlgutils.tracing import traced
from dlgutils.types import Attack, Candidate, Result, Shared, Tensors, nothing

Watch = Callable[[int, Tensor, Tensor], object]
"""(evaluations so far, lowest losses (runs,), images held (runs, batch, ...)) -> anything true to stop."""

_LOOK = 16  # evaluations between two looks at which runs have stopped: a look waits for the device
_TRACE_PAYS = 3000  # evaluations · (runs + 8) to come: then tracing, about a second, costs less than it saves


def invert(
    model: nn.Module,
    shared: Shared | Sequence[Shared],
    attack: Attack,
    generator: Generator | Sequence[int] | None = None,
    *,
    start: Tensor | None = None,
    steps: int = 300,
    frames: int = 24,
    chunk: int = 256,
    progress: bool = False,
    watch: Watch | None = None,
) -> Result:
    """Reconstruct images from shared gradients by gradient matching: a `Result`, one run per `Shared`.

    Images, seeds, restarts and initialisations are all the same axis: pass a list, e.g. `[shared] * 4` for four restarts
    of an attack whose start is random, such as `attacks.pink`; all must have the same shapes. Every run has its own
    optimiser state and its own generator, so no run changes another; one whose loss is not finite tries shorter steps
    (line search) or stops where it is.

    generator: on the CPU; it draws the seeds of the runs. Or the seeds themselves, one for each run: then run k is the
    same alone, `invert(model, shared[k], attack, [result.seeds[k]])`.
    start: images to start from in place of the attack's own, (runs, batch, channels, height, width), such as the `x` of
    another result.
    steps: evaluations of the matching loss and its slope. frames: the most pictures in the film after the start, at
    steps that grow like squares. progress: show a tqdm bar.
    chunk: the most runs at once, which bounds the memory; when it does not suffice, it is halved with a warning.
    watch: called after every evaluation with the runs of the chunk; may stop the attack. Ctrl-C, or a watch that answers
    true, returns what was found so far with `complete=False`.
    Device and dtype are those of the gradients; the attacker works on a copy of `model` moved there.
    Raises ValueError for gradients that are not of this model, not finite or all zero, for rounds of different shapes,
    for steps, frames or chunk below 1, for an attack that draws random numbers without a generator, and for a generator
    that is none of the CPU. Raises MemoryError if even one run is too large.
    """
    rounds = [shared] if isinstance(shared, Shared) else list(shared)
    _check(model, rounds, start, steps=steps, frames=frames, chunk=chunk)
    seeds = _seeds(generator, len(rounds))
    like = next(iter(rounds[0].gradient.values()))
    model = copy.deepcopy(model).to(like)
    parts: list[Result] = []
    with _one_thread(like), _bar(attack, steps * len(rounds), progress) as bar:
        done = 0
        while done < len(rounds):
            here = slice(done, done + chunk)
            going_on = all(part.complete for part in parts)
            try:
                problem = _Problem(model, rounds[here], attack, seeds[here], None if start is None else start[here])
                parts.append(_descend(problem, steps if going_on else 0, spread(steps, frames), bar, watch))
                done += chunk
            except RuntimeError as error:
                if not _lacks_memory(error):
                    raise
                chunk = _halved(chunk)
    return replace(_join(parts), seeds=torch.tensor(seeds))


def believed(attack: Attack, guess: Tensors, known: Tensors) -> Candidate:
    """What an attack believes: its guess, images in the attack's coordinates, and what it read and drew, decoded."""
    pixels = attack.coordinates.decode(guess["x"]) if attack.coordinates else guess["x"]
    return attack.decode({**guess, "x": pixels, **known})


def objective(
    model: nn.Module, attack: Attack, guess: Tensors, known: Tensors, weights: Tensors, gradient: Tensors
) -> Tensor:
    """What an attack makes small: the matching loss of its guess, with the prior if there is one. A scalar.

    guess: the tensors that are optimised, images in the attack's coordinates. known: those that it read and drew.
    weights, gradient: of one round, as in `Shared`. For who wants to minimise it elsewhere; `invert` does it here.
    """
    candidate = believed(attack, guess, known)
    loss = attack.distance(client.gradient(weights, model, *candidate), gradient)
    return loss if attack.prior is None else loss + attack.prior(candidate)


class _Problem:
    """What the attacker minimises: many independent functions of z, (runs, n), one for each run."""

    def __init__(
        self, model: nn.Module, rounds: Sequence[Shared], attack: Attack, seeds: Sequence[int], start: Tensor | None
    ):
        self.model, self.rounds, self.attack = model, rounds, attack
        self.generators = [None if seed < 0 else Generator().manual_seed(seed) for seed in seeds]
        self.given = _Given(
            _stack([attack.read(model, s) for s in rounds]),
            _stack([s.weights for s in rounds]),
            _stack([s.gradient for s in rounds]),
        )
        guesses = [attack.start(model, s, g) for s, g in zip(rounds, self.generators, strict=True)]
        if start is not None:
            guesses = [{**guess, "x": x.to(guess["x"])} for guess, x in zip(guesses, start, strict=True)]
        if attack.coordinates:
            guesses = [{**guess, "x": attack.coordinates.encode(guess["x"])} for guess in guesses]
        self.start, self.unflatten = _flatten(_stack(guesses))

    def objective(self, z: Tensor, drawn: Tensors, given: "_Given") -> Tensor:
        """What one run makes small, at z."""
        known = {**given.known, **drawn}
        return objective(self.model, self.attack, self.unflatten(z), known, given.weights, given.gradient)

    def draw(self, runs: Sequence[int]) -> Tensors:
        """What the attack draws anew, for these runs."""
        return _stack([self.attack.draw(self.model, self.rounds[r], self.generators[r]) for r in runs])

    def picture(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels of all runs."""
        return vmap(lambda z, known: believed(self.attack, self.unflatten(z), known)[:2])(z, self.given.known)


class _Given(NamedTuple):
    """What does not change while a run descends, the runs first: read off the gradient, and shared by the client."""

    known: Tensors
    weights: Tensors
    gradient: Tensors


def _descend(problem: _Problem, steps: int, frame_steps: set[int], bar: tqdm, watch: Watch | None) -> Result:
    """All runs of one problem, from their starts to their ends. Runs that have stopped leave when they are half of all."""
    attack, given = problem.attack, problem.given
    slopes = vmap(grad_and_value(problem.objective))
    record = _Record(problem, frame_steps)
    state, running = attack.optimizer.init(problem.start), torch.arange(len(problem.start), device=problem.start.device)
    evaluate, complete = None, False
    try:
        for evaluation in range(steps):
            drawn = problem.draw(running.tolist()) if attack.draw is not nothing else {}
            if evaluate is None:
                long = (steps - evaluation) * (len(running) + 8) >= _TRACE_PAYS
                evaluate = traced(slopes, state.trial, drawn, given) if long else slopes
            slope, value = evaluate(state.trial, drawn, given)
            trial, alive = state.trial, state.alive
            state = attack.optimizer.update(state, value, slope)
            record.add(running, trial, value, alive, state.z)
            bar.update(len(problem.start))
            if not bar.disable:
                bar.set_postfix(best=f"{record.lowest.min():.1e}", median=f"{record.lowest.median():.1e}", refresh=False)
            if watch and watch(record.evaluations, record.lowest, problem.picture(record.held)[0]):
                break
            if evaluation % _LOOK == _LOOK - 1 and 2 * (left := int(state.alive.sum())) <= len(running):
                if not left:
                    complete = True
                    break
                state, given, running = _only(state.alive.nonzero()[:, 0], (state, given, running))
                evaluate = None
        else:
            complete = steps > 0
    except KeyboardInterrupt:
        pass  # the record has every evaluation that was finished
    return record.result(attack.name, complete)


def _only(runs: Tensor, tensors: tuple) -> tuple:
    return tree_map_only(Tensor, lambda t: t[runs], tensors)


class _Record:
    """What a descent leaves behind: losses, the iterate of the lowest one, and the film."""

    def __init__(self, problem: _Problem, frame_steps: set[int]):
        self.picture, self.wanted = problem.picture, frame_steps
        self.held = self.best = problem.start
        self.lowest = problem.start.new_full((len(problem.start),), torch.inf)
        self.losses: list[Tensor] = []
        self.frames, self.frame_steps = [self.picture(self.held)[0]], [0]

    @property
    def evaluations(self) -> int:
        return len(self.losses)

    def add(self, running: Tensor, trial: Tensor, value: Tensor, alive: Tensor, held: Tensor) -> None:
        better = alive & (value < self.lowest[running])
        self.best = self.best.index_copy(0, running, torch.where(better[:, None], trial, self.best[running]))
        self.lowest = self.lowest.index_copy(0, running, torch.where(better, value, self.lowest[running]))
        self.held = self.held.index_copy(0, running, held)
        none = torch.full_like(self.lowest, torch.nan)
        self.losses.append(none.index_copy(0, running, torch.where(alive, value, torch.nan)))
        if self.evaluations in self.wanted:
            self.film()

    def film(self) -> None:
        self.frames.append(self.picture(self.held)[0])
        self.frame_steps.append(self.evaluations)

    def result(self, attack: str, complete: bool) -> Result:
        if self.frame_steps[-1] != self.evaluations:
            self.film()
        x, y = self.picture(self.best)
        loss = torch.stack(self.losses, 1) if self.losses else self.lowest.new_empty(len(x), 0)
        y = y.argmax(-1) if y.is_floating_point() else y
        return Result(x, y, loss, torch.stack(self.frames), torch.tensor(self.frame_steps), attack=attack, complete=complete)


def _join(parts: Sequence[Result]) -> Result:
    """The results of all chunks as one. A chunk that ended early keeps its last picture."""
    evaluations = max(part.loss.shape[1] for part in parts)
    frame_steps = torch.cat([part.frame_steps for part in parts]).unique()
    films = [part.frames[torch.searchsorted(part.frame_steps, frame_steps, right=True) - 1] for part in parts]
    return Result(
        torch.cat([part.x for part in parts]),
        torch.cat([part.y for part in parts]),
        torch.cat([pad(part.loss, (0, evaluations - part.loss.shape[1]), value=torch.nan) for part in parts]),
        torch.cat(films, 1),
        frame_steps,
        attack=parts[0].attack,
        complete=all(part.complete for part in parts),
    )


def _lacks_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)


def _halved(chunk: int) -> int:
    if chunk == 1:
        raise MemoryError("one run alone does not fit into memory; use a shorter history: optimizers.lbfgs(history=20)")
    warnings.warn(f"out of memory with {chunk} runs at once; going on with {chunk // 2}", stacklevel=3)
    return chunk // 2


def _check(model: nn.Module, rounds: Sequence[Shared], start: Tensor | None, *, steps: int, frames: int, chunk: int) -> None:
    for name, number in (("steps", steps), ("frames", frames), ("chunk", chunk), ("rounds", len(rounds))):
        if number < 1:
            raise ValueError(f"an attack needs at least 1 of {name}, got {number}")
    client.check(model, *rounds)
    dtypes = {str(next(iter(shared.gradient.values())).dtype) for shared in rounds}
    for what, kinds in (("dtypes", dtypes), ("shapes", {tuple(shared.x_shape) for shared in rounds})):
        if len(kinds) > 1:
            raise ValueError(f"rounds of different {what}, {sorted(kinds)}, cannot run together; invert them one by one")
    wanted = (len(rounds), *rounds[0].x_shape)
    if start is not None and start.shape != wanted:
        raise ValueError(f"a start for these rounds has the shape {wanted}, runs first, got {tuple(start.shape)}")


def _seeds(generator: Generator | Sequence[int] | None, runs: int) -> list[int]:
    """One seed per run, so that what a run draws does not depend on its company; -1 for a run that may draw nothing."""
    if generator is None:
        return [-1] * runs
    if isinstance(generator, Generator) and generator.device.type == "cpu":
        return torch.randint(2**62, (runs,), generator=generator).tolist()
    try:
        seeds = [index(seed) for seed in generator]
    except TypeError as error:
        raise ValueError(
            f"an attack draws from a generator on the CPU, got {generator!r}; pass torch.Generator().manual_seed(0), "
            "or a list of seeds, one for each run"
        ) from error
    if len(seeds) != runs:
        raise ValueError(f"{len(seeds)} seeds came for {runs} runs; pass one for each, or a generator for them all")
    return seeds


def _stack(runs: Sequence[Tensors]) -> dict[str, Tensor]:
    """The tensors of all runs by name, with a leading axis of runs, cut off from whatever graph made them."""
    names = runs[0].keys()
    for tensors in runs:
        if tensors.keys() != names:
            raise ValueError(
                f"the runs of an attack have the same tensors, got {sorted(names)} and {sorted(tensors)}; "
                "invert them one by one"
            )
    return {name: torch.stack([tensors[name].detach() for tensors in runs]) for name in names}


def _flatten(guess: Mapping[str, Tensor]) -> tuple[Tensor, Callable[[Tensor], Tensors]]:
    """The guess of all runs as z, (runs, n), and the way back for one run."""
    shapes = {name: t.shape[1:] for name, t in guess.items()}
    sizes = [shape.numel() for shape in shapes.values()]

    def unflatten(z: Tensor) -> Tensors:
        return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), z.split(sizes), strict=True)}

    return torch.cat([t.flatten(1) for t in guess.values()], 1), unflatten


def spread(steps: int, frames: int) -> set[int]:
    """After how many evaluations a film has its frames: at most `frames` numbers from 1 to `steps`.

    They grow like squares: the picture changes most at first.
    """
    return {max(1, round(steps * (k / frames) ** 2)) for k in range(1, frames + 1)}


def _bar(attack: Attack, total: int, progress: bool) -> tqdm:
    return tqdm(total=total, desc=attack.name, unit=" evaluations", unit_scale=True, disable=not progress)


@contextmanager
def _one_thread(like: Tensor) -> Iterator[None]:
    """On a CPU, one thread: networks this small are slowed down by more. The caller's number is restored."""
    threads = torch.get_num_threads()
    if like.device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
