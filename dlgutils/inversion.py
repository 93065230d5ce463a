"""The one engine: any gradient-matching attack, any number of runs at once, wherever the gradients lie."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Generator, Tensor, nn
from torch.func import grad_and_value, vmap
from tqdm.auto import tqdm

from dlgutils import client
from dlgutils.types import Attack, Result, Shared, Tensors

Watch = Callable[[int, Tensor, Tensor], object]
"""(evaluations so far, lowest losses (runs,), images held (runs, batch, ...)) -> anything true to stop."""


def invert(
    model: nn.Module,
    shared: Shared | Sequence[Shared],
    attack: Attack,
    generator: Generator | Sequence[Generator] | None = None,
    *,
    steps: int = 300,
    frames: int = 24,
    progress: bool = False,
    watch: Watch | None = None,
) -> Result:
    """Reconstruct images from shared gradients by gradient matching: a `Result`, one run per `Shared`.

    Images, seeds, restarts and initialisations are all the same axis: pass a list, e.g. `[shared] * 4` for four
    restarts; all must have the same shapes. Every run has its own optimiser state and its own generator, so no run changes
    another; one whose loss is not finite tries shorter steps (line search) or stops where it is.

    generator: on the CPU; it seeds the generators of the runs in their order. Or one for each run: then run k is the same
    alone, `invert(model, shared[k], attack, generator[k])`, given a generator of the same seed.
    steps: evaluations of the matching loss and its slope. frames: the most pictures in the film after the start, at
    steps that grow like squares. progress: show a tqdm bar. watch: called after every evaluation, may stop the attack.
    Ctrl-C, or a watch that answers true, returns what was found so far with `complete=False`.
    Device and dtype are those of the gradients; the attacker works on a copy of `model` moved there.
    Raises ValueError for gradients that are not of this model, not finite or all zero, for rounds of different shapes,
    for steps or frames below 1, for an attack that draws random numbers without a generator, and for a generator that is
    none of the CPU.
    """
    rounds = [shared] if isinstance(shared, Shared) else list(shared)
    _check(model, rounds, steps=steps, frames=frames)
    generators = _split(generator, len(rounds))
    model = copy.deepcopy(model).to(next(iter(rounds[0].gradient.values())))
    known = _stack([attack.read(model, s) for s in rounds])
    z, unflatten = _flatten(_stack([attack.start(model, s, g) for s, g in zip(rounds, generators, strict=True)]))
    weights, gradient = _stack([s.weights for s in rounds]), _stack([s.gradient for s in rounds])

    def objective(z: Tensor, drawn: Tensors, known: Tensors, weights: Tensors, gradient: Tensors) -> Tensor:
        candidate = attack.decode({**unflatten(z), **known, **drawn})
        loss = attack.distance(client.gradient(weights, model, *candidate), gradient)
        return loss if attack.prior is None else loss + attack.prior(candidate)

    def evaluate(z: Tensor) -> tuple[Tensor, Tensor]:
        drawn = _stack([attack.draw(model, s, g) for s, g in zip(rounds, generators, strict=True)])
        return vmap(grad_and_value(objective))(z, drawn, known, weights, gradient)

    def decode(z: Tensor) -> tuple[Tensor, Tensor]:
        return vmap(lambda z, known: attack.decode({**unflatten(z), **known})[:2])(z, known)

    record = _Record(z, decode, _spread(steps, frames))
    state = attack.optimizer.init(z)
    complete = False
    with _one_thread(z), tqdm(total=steps, desc=attack.name, disable=not progress) as bar:
        try:
            while record.evaluations < steps and state.alive.any():
                slope, value = evaluate(state.trial)
                trial, alive = state.trial, state.alive
                state = attack.optimizer.update(state, value, slope)
                record.add(trial, value, alive, state.z)
                if progress:
                    lowest = record.lowest
                    bar.set_postfix(best=f"{lowest.min():.1e}", median=f"{lowest.median():.1e}", refresh=False)
                    bar.update()
                if watch and watch(record.evaluations, record.lowest, decode(state.z)[0]):
                    break
            else:
                complete = True
        except KeyboardInterrupt:
            pass
    return record.result(attack.name, complete, state.z)


class _Record:
    """What an attack leaves behind: losses, the iterate of the lowest one, and the film."""

    def __init__(self, z: Tensor, decode: Callable[[Tensor], tuple[Tensor, Tensor]], frame_steps: set[int]):
        self.decode, self.wanted = decode, frame_steps
        self.best, self.lowest = z, z.new_full((len(z),), torch.inf)
        self.losses: list[Tensor] = []
        self.frames, self.frame_steps = [decode(z)[0]], [0]

    @property
    def evaluations(self) -> int:
        return len(self.losses)

    def add(self, trial: Tensor, value: Tensor, alive: Tensor, held: Tensor) -> None:
        better = alive & (value < self.lowest)
        self.best = torch.where(better[:, None], trial, self.best)
        self.lowest = torch.where(better, value, self.lowest)
        self.losses.append(torch.where(alive, value, torch.nan))
        if self.evaluations in self.wanted:
            self.film(held)

    def film(self, held: Tensor) -> None:
        self.frames.append(self.decode(held)[0])
        self.frame_steps.append(self.evaluations)

    def result(self, attack: str, complete: bool, held: Tensor) -> Result:
        if self.frame_steps[-1] != self.evaluations:
            self.film(held)
        x, y = self.decode(self.best)
        loss = torch.stack(self.losses, 1) if self.losses else held.new_empty(len(held), 0)
        y = y.argmax(-1) if y.is_floating_point() else y
        return Result(x, y, loss, torch.stack(self.frames), torch.tensor(self.frame_steps), attack, complete)


def _check(model: nn.Module, rounds: Sequence[Shared], *, steps: int, frames: int) -> None:
    for name, number in (("steps", steps), ("frames", frames), ("rounds", len(rounds))):
        if number < 1:
            raise ValueError(f"an attack needs at least 1 of {name}, got {number}")
    for shared in rounds:
        client.check(model, shared)
    dtypes = {str(next(iter(shared.gradient.values())).dtype) for shared in rounds}
    for what, kinds in (("dtypes", dtypes), ("shapes", {tuple(shared.x_shape) for shared in rounds})):
        if len(kinds) > 1:
            raise ValueError(f"rounds of different {what}, {sorted(kinds)}, cannot run together; invert them one by one")


def _split(generator: Generator | Sequence[Generator] | None, runs: int) -> list[Generator | None]:
    """One generator per run, so that what a run draws does not depend on its company."""
    given = generator if isinstance(generator, Sequence) else [generator] * runs
    if len(given) != runs:
        raise ValueError(f"{len(given)} generators came for {runs} runs; pass one for each, or one that seeds them all")
    return [None if g is None else _seeded_from(g) for g in given]


def _seeded_from(generator: Generator) -> Generator:
    if not isinstance(generator, Generator) or generator.device.type != "cpu":
        raise ValueError(
            f"an attack draws from a generator on the CPU, got {generator!r}; pass torch.Generator().manual_seed(0)"
        )
    return Generator().manual_seed(int(torch.randint(2**62, (), generator=generator)))


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


def _spread(steps: int, frames: int) -> set[int]:
    """`frames` numbers of evaluations up to `steps`, growing like squares: the picture changes most at first."""
    return {max(1, round(steps * (k / frames) ** 2)) for k in range(1, frames + 1)}


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
