"""Does another device compute what the CPU does? The rows of the first tables of `gpu`.

One thing differs by default: PyTorch lets the convolutions of cuDNN round float32 to TF32, which
has ten bits, and matrix products not. `tf32` chooses, for as long as a row is measured.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.func import grad_and_value, vmap

import dlgutils as du
from benchmarks import speed
from benchmarks.attempts import attempt
from dlgutils import attacks, data, federated, metrics, models
from dlgutils.matching.problem import Problem
from dlgutils.matching.tracing import traced
from reproduce import recovery

RECIPES = [recipe for recipe in vars(attacks).values() if isinstance(recipe, du.Attack)]
MASKED = speed.DEFAULT._replace(attack=attacks.mask_reading, dropout=0.5)
RECIPE_HEAD = ("recipe", "loss", "slope", "slope, traced", "losses of a short attack")
FOUND_HEAD = (
    "float32",
    "masks read",
    "labels",
    "MSE < 1e-2",
    "MSE < 1e-3",
    "median MSE",
)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Inside, cuDNN may or may not round the float32 of convolutions to TF32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def relative(found: Tensor, wanted: Tensor) -> float:
    """‖found − wanted‖ / ‖wanted‖, the largest over the first axis; equal NaN do not differ."""
    both_nan = found.isnan() & wanted.isnan()
    difference = (found - wanted).masked_fill(both_nan, 0).flatten(1).norm(dim=1)
    return float((difference / wanted.nan_to_num(0).flatten(1).norm(dim=1)).max())


class Evaluations(NamedTuple):
    """What is compared, runs first, on the CPU."""

    loss: Tensor  # (runs, 1)
    slope: Tensor  # (runs, n)
    traced: Tensor  # (runs, n): the slope, by the traced function
    losses: Tensor  # (runs, evaluations) of a short attack


def evaluations(
    recipe: du.Attack, drawn: Sequence[federated.Round], device: str, steps: int
) -> Evaluations:
    """The first evaluation of a recipe, as it comes and traced, and a short attack.

    Args:
        recipe: the attack.
        drawn: the rounds.
        device: where.
        steps: evaluations of the short attack.
    """
    model, shared = speed.moved(drawn, device)
    problem = Problem(model, shared, recipe, range(len(shared)), None)
    arguments = (problem.start, problem.draw(range(len(shared))), problem.given)
    evaluate = vmap(grad_and_value(problem.objective))
    slope, loss = evaluate(*arguments)
    again, _ = traced(evaluate, *arguments)(*arguments)
    losses = speed.attack(model, shared, steps, recipe).loss
    return Evaluations(loss[:, None].cpu(), slope.cpu(), again.cpu(), losses.cpu())


def masked_rounds(
    runs: int, dtype: torch.dtype, size: int = 32, batch: int = 1
) -> list[federated.Round]:
    """Rounds of photographs with dropout 0.5, with the seeds 0, 1, … on the CPU.

    Args:
        runs: how many.
        dtype: of images and weights.
        size: of the images, in pixels: 16 or 32.
        batch: images a round.
    """
    photos = data.photos()
    x = nn.functional.avg_pool2d(photos.x, 32 // size).to(dtype)
    model = models.lenet((3, size, size), dropout=0.5).to(dtype)
    drawn = []
    for k in range(runs):
        which = (torch.arange(batch) + k) % len(x)
        secret = du.Batch(x[which], photos.y[which])
        drawn.append(federated.honest(model, secret, Generator().manual_seed(k)))
    return drawn


def recipe_rows(device: str, runs: int = 4, steps: int = 10) -> speed.Rows:
    """The largest relative differences between the device and the CPU, in float64."""
    drawn = masked_rounds(runs, torch.float64)

    def differences(recipe: du.Attack) -> list[float]:
        there = evaluations(recipe, drawn, "cpu", steps)
        wanted = there._replace(traced=there.slope)
        found = evaluations(recipe, drawn, device, steps)
        return [relative(a, b) for a, b in zip(found, wanted, strict=True)]

    for recipe in RECIPES:
        yield attempt(recipe.name, len(RECIPE_HEAD), partial(differences, recipe))


def found(
    setting: recovery.Setting, drawn: Sequence[federated.Round], device: str, *, allow: bool = False
) -> tuple[str, ...]:
    """Masks, labels and images that come back on a device.

    Args:
        setting: network and attack.
        drawn: the rounds, on the CPU.
        device: of the attack.
        allow: TF32.
    """
    there = [on(one, device) for one in drawn]
    masks = "–"
    if setting.dropout:
        right = torch.tensor([recovery.is_mask_read(one) for one in there])
        masks = str(metrics.success_rate(right))
    shared = [one.shared for one in there]
    with tf32(allow):
        result = speed.attack(there[0].model, shared, setting.looks[0], setting.attack)
    x = torch.stack([one.secret.x for one in there])
    y = torch.stack([one.secret.y for one in there])
    return (masks, *recovery.scores(result, x, y))


def on(one: federated.Round, device: str) -> federated.Round:
    """The same round with everything in it on a device."""
    model = copy.deepcopy(one.model).to(device)
    secret = du.Batch(one.secret.x.to(device), one.secret.y.to(device))
    masks = {name: mask.to(device) for name, mask in one.masks.items()}
    return federated.Round(model, secret, speed.to(one.shared, device), masks)


def shared_there(
    drawn: Sequence[federated.Round], device: str, *, allow: bool
) -> list[federated.Round]:
    """The same rounds, whose clients compute the gradient on a device, with TF32 or without."""
    again = []
    for one in drawn:
        there = on(one, device)
        with tf32(allow):
            shared = du.share(there.model, there.secret, masks=there.masks)
        again.append(one._replace(shared=speed.to(shared, "cpu")))
    return again


def found_rows(device: str, runs: int = 96, few: int = 12, steps: int = 100) -> speed.Rows:
    """What comes back in float32; attacks on a `few` rounds are short enough not to be traced.

    Args:
        device: where.
        runs: rounds of a row.
        few: of the rows that are not traced.
        steps: evaluations.
    """
    idlg, masked = (setting._replace(looks=(steps,)) for setting in (speed.DEFAULT, MASKED))
    dlg = idlg._replace(attack=attacks.dlg)
    plain = recovery.draw_rounds(idlg, runs)
    client = "iDLG, client on the device"
    rows = {
        "iDLG": (idlg, plain),
        "DLG": (dlg, plain),
        masked.attack.name: (masked, recovery.draw_rounds(masked, runs)),
        "iDLG, not traced": (idlg, plain[:few]),
    }
    for name, (setting, drawn) in rows.items():
        yield attempt(name, len(FOUND_HEAD), partial(found, setting, drawn, device))
    short = partial(found, idlg, plain[:few], device, allow=True)
    yield attempt("iDLG, not traced, TF32", len(FOUND_HEAD), short)
    for words, allow in ((client, False), (f"{client}, TF32", True)):

        def honest(allow: bool = allow) -> tuple[str, ...]:
            return found(idlg, shared_there(plain, device, allow=allow), device)

        yield attempt(words, len(FOUND_HEAD), honest)


def client_rows(device: str, runs: int = 12) -> speed.Rows:
    """How far the float32 gradient of a client on the device is from that of one on the CPU."""
    drawn = recovery.draw_rounds(speed.DEFAULT, runs)
    wanted = torch.stack([_flat(one.shared) for one in drawn])
    for allow in (False, True):

        def difference(allow: bool = allow) -> list[float]:
            again = shared_there(drawn, device, allow=allow)
            return [relative(torch.stack([_flat(one.shared) for one in again]), wanted)]

        yield attempt("TF32" if allow else "float32", 2, difference)


def _flat(shared: du.Shared) -> Tensor:
    return torch.cat([g.flatten() for g in shared.gradient.values()])
