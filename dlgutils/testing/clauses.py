"""The clauses of the contract: each raises AssertionError with what it wanted and what came."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Generator, Tensor
from torch.func import vmap
from torch.utils._pytree import tree_leaves

from dlgutils.matching import invert
from dlgutils.matching.problem import Problem
from dlgutils.testing.tiny import CLASSES, FEATURES, tiny_round
from dlgutils.types import Attack, Guess, Result, Shared, nothing

_STEPS = 8


def fills_a_result(attack: Attack) -> None:
    """Images, labels, losses and frames have the shapes that `Result` documents."""
    model, _, shared, _ = tiny_round()
    result = _run(attack, model, [shared] * 3, frames=4)
    _equal(attack, "x", tuple(result.x.shape), (3, 1, 1, 8, 8))
    _equal(attack, "y", tuple(result.y.shape), (3, 1))
    _equal(attack, "loss", tuple(result.loss.shape), (3, _STEPS))
    frames = (len(result.frame_steps), 3, 1, 1, 8, 8)
    _equal(attack, "frames", tuple(result.frames.shape), frames)
    _equal(attack, "name and completeness", (result.attack, result.complete), (attack.name, True))


def takes_a_batch(attack: Attack, batch: int = 3) -> None:
    """Several images are attacked together, with a label for each."""
    model, _, shared, _ = tiny_round(batch=batch, dropout=0.0)
    result = _run(attack, model, shared, steps=2)
    _equal(attack, "x of a batch", tuple(result.x.shape), (1, batch, 1, 8, 8))
    _equal(attack, "y of a batch", tuple(result.y.shape), (1, batch))


def films_from_the_start_to_the_end(attack: Attack) -> None:
    """The film begins with the start, ends with the last evaluation, and is as long as wanted."""
    model, _, shared, _ = tiny_round()
    steps = _run(attack, model, shared, steps=9, frames=4).frame_steps
    _equal(attack, "first and last frame", (int(steps[0]), int(steps[-1])), (0, 9))
    _require(attack, bool((steps.diff() > 0).all()), f"frames come in order, got {steps}")
    _require(attack, len(steps) <= 4 + 1, f"4 frames after the start at most, got {len(steps)}")


def keeps_the_dtype(attack: Attack) -> None:
    """Everything is in the dtype of the gradients."""
    for dtype in (torch.float32, torch.float64):
        model, _, shared, _ = tiny_round(dtype=dtype)
        result = _run(attack, model, shared)
        kinds = {result.x.dtype, result.loss.dtype, result.frames.dtype}
        _equal(attack, "dtypes", kinds, {dtype})


def returns_class_ids(attack: Attack) -> None:
    """Labels are class ids, whether they were read or optimised."""
    model, _, shared, _ = tiny_round()
    y = _run(attack, model, [shared] * 2).y
    _equal(attack, "the dtype of y", y.dtype, torch.int64)
    _require(attack, bool(((y >= 0) & (y < CLASSES)).all()), f"y lies in 0 … 3, got {y}")


def runs_alone_as_in_company(attack: Attack) -> None:
    """A run is the same, to rounding, whatever other runs are beside it."""
    model, _, shared, _ = tiny_round()
    others = [tiny_round(seed).shared for seed in (1, 2)]
    alone = _run(attack, model, shared)
    company = _run(attack, model, [shared, *others]).run(0)
    stopped = alone.loss.isnan()
    difference = (company.loss - alone.loss).masked_fill(stopped, 0).abs().max().item()
    same = company.loss.isnan().equal(stopped) and difference <= 1e-10 * alone.loss[0, 0].item()
    _require(attack, same, f"no run may look at another: alone, losses differ by {difference:.1e}")
    close = company.x.allclose(alone.x, rtol=1e-8, atol=1e-8)
    _require(attack, close, "no run may look at another: alone, the images differ")
    _equal(attack, "y in company", company.y.tolist(), alone.y.tolist())


def follows_its_generator(attack: Attack) -> None:
    """The same generator gives the same result: nothing else is random."""
    model, _, shared, _ = tiny_round()
    first = _run(attack, model, [shared] * 2)
    second = _run(attack, model, [shared] * 2)
    same = _same(first.loss, second.loss) and _same(first.frames, second.frames)
    _require(
        attack,
        same,
        "two results of one seed differ; draw from the generator that is given, "
        "and keep nothing from call to call",
    )


def computes_the_same_again(attack: Attack) -> None:
    """The loss at one point is always the same: a long attack replays what was done once."""
    model, _, shared, _ = tiny_round()
    problem = Problem(model, [shared], attack, seeds=[0], start=None)
    drawn = problem.draw([0])
    evaluate = vmap(problem.objective)
    losses = [evaluate(problem.start, drawn, problem.given).item() for _ in range(2)]
    same = losses[0] == losses[1]
    _require(attack, same, f"decode, distance and prior are pure; one point had losses {losses}")


def keeps_the_runs_first(attack: Attack) -> None:
    """Every tensor in a state of the optimiser has the runs as its first axis."""
    z = torch.zeros(3, 5, dtype=torch.float64)
    state = attack.optimizer.init(z)
    for _ in range(2):
        shapes = [tuple(leaf.shape) for leaf in tree_leaves(state) if isinstance(leaf, Tensor)]
        wrong = [shape for shape in shapes if shape[:1] != (3,)]
        _require(attack, not wrong, f"a state of 3 runs has tensors (3, ...), got {wrong}")
        state = attack.optimizer.update(state, torch.ones_like(z[:, 0]), torch.ones_like(z))


def transforms_there_and_back(attack: Attack) -> None:
    """Where there is a transform, it returns the image that it was given."""
    if attack.transform:
        x = tiny_round().secret.x
        same = x.allclose(attack.transform.decode(attack.transform.encode(x)))
        _require(attack, same, f"decode of {attack.transform.name} undoes encode, it did not")


def touches_nothing_global(attack: Attack) -> None:
    """The global random state and the number of threads are left as they were."""
    model, _, shared, _ = tiny_round()
    state = torch.get_rng_state()
    with _two_threads():
        _run(attack, model, shared)
        _equal(attack, "the number of threads", torch.get_num_threads(), 2)
    same = torch.get_rng_state().equal(state)
    _require(attack, same, "the global random state changed; draw from the generator given")


def changes_neither_round_nor_model(attack: Attack) -> None:
    """Weights, gradient and model are the same tensors with the same values afterwards."""
    model, _, shared, _ = tiny_round()
    given = (model.state_dict(), shared.weights, shared.gradient)
    before = copy.deepcopy(given)
    _run(attack, model, shared)
    for what, old in zip(given, before, strict=True):
        changed = [name for name, tensor in what.items() if not tensor.equal(old[name])]
        _require(attack, not changed, f"an attack leaves its input alone, {changed} changed")


def attacks_the_weights_that_were_shared(attack: Attack) -> None:
    """The model's own weights do not matter, only those in `Shared`."""
    model, _, shared, _ = tiny_round()
    retrained = tiny_round(9).model
    same = _same(_run(attack, retrained, shared).loss, _run(attack, model, shared).loss)
    _require(attack, same, "use shared.weights: the loss follows the weights of the model instead")


def uses_the_masks_that_it_infers(attack: Attack) -> None:
    """A wrong mask among what is inferred changes the loss: the objective really uses it."""
    model, _, shared, _ = tiny_round()
    wrong = 2 * (torch.arange(FEATURES, dtype=torch.float64)[None] % 2)

    def misled(model: torch.nn.Module, shared: Shared) -> Guess:
        guess = attack.infer(model, shared)
        return guess._replace(masks={**guess.masks, "dropout.mask": wrong})

    maskless = replace(attack, draw=nothing)
    honest_loss = _run(maskless, model, shared, steps=1).loss
    wrong_loss = _run(replace(maskless, infer=misled), model, shared, steps=1).loss
    differs = not honest_loss.isclose(wrong_loss, rtol=1e-3)
    _require(attack, differs, "decode drops the masks: a wrong one does not change the loss")


def stops_when_its_watch_returns_true(attack: Attack) -> None:
    """A watch sees every evaluation, and ends the attack, which keeps what it has."""
    model, _, shared, _ = tiny_round()
    whole = _run(attack, model, [shared] * 2)
    seen = []

    def watch(evaluation: int, best_loss: torch.Tensor, x: torch.Tensor) -> bool:
        seen.append((evaluation, tuple(best_loss.shape), tuple(x.shape)))
        return evaluation == 3

    result = _run(attack, model, [shared] * 2, watch=watch)
    _equal(attack, "what a watch sees", seen, [(k, (2,), (2, 1, 1, 8, 8)) for k in (1, 2, 3)])
    _equal(attack, "completeness", result.complete, False)
    _require(attack, _same(result.loss, whole.loss[:, :3]), "the losses so far are kept")
    _equal(attack, "the last frame", int(result.frame_steps[-1]), 3)


def keeps_what_it_has_at_ctrl_c(attack: Attack) -> None:
    """An interrupted attack returns what it found so far, and restores the number of threads."""

    def interrupt(evaluation: int, *_: object) -> None:
        if evaluation == 4:
            raise KeyboardInterrupt("as if somebody pressed Ctrl-C")

    model, _, shared, _ = tiny_round()
    with _two_threads():
        result = _run(attack, model, shared, watch=interrupt)
        _equal(attack, "the number of threads", torch.get_num_threads(), 2)
    _equal(attack, "completeness", result.complete, False)
    same = _same(result.loss, _run(attack, model, shared).loss[:, :4])
    _require(attack, same, "the losses of the finished evaluations are kept")
    _require(attack, bool(result.best().x.isfinite().all()), "the best image so far is finite")


@contextmanager
def _two_threads() -> Iterator[None]:
    """Two threads inside; afterwards, the number is what it was."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _run(attack: Attack, model: torch.nn.Module, shared: object, **options: object) -> Result:
    """A short attack with a new generator."""
    options = {"steps": _STEPS, **options}
    return invert(model, shared, attack, Generator().manual_seed(0), **options)


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two results are equal; NaN, after a run has stopped, is equal to itself."""
    return a.shape == b.shape and a.allclose(b, rtol=0, atol=0, equal_nan=True)


def _equal(attack: Attack, what: str, got: object, wanted: object) -> None:
    _require(attack, got == wanted, f"{what} should be {wanted}, got {got}")


def _require(attack: Attack, kept: bool, message: str) -> None:
    if not kept:
        raise AssertionError(f"{attack.name} breaks the contract of attacks: {message}")
