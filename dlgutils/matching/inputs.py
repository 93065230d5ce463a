"""What `invert` is given: rounds that can run together, and a seed for each of them."""

from collections.abc import Mapping, Sequence
from operator import index

import torch
from torch import Generator, Tensor, nn

from dlgutils.federated.checks import check
from dlgutils.federated.model_checks import outputs_of_zeros
from dlgutils.matching.problem import Problem
from dlgutils.types import Attack, Shared


def check_attack(attack: Attack) -> None:
    """Raises ValueError unless this is a recipe."""
    if not isinstance(attack, Attack):
        raise ValueError(
            f"an attack is an Attack such as attacks.idlg, without brackets, got {attack!r}"
        )


def check_rounds(
    model: nn.Module, rounds: Sequence[Shared], start: Tensor | None, numbers: Mapping[str, int]
) -> None:
    """Raises ValueError unless all rounds are of this model and alike, and no number is below 1.

    Args:
        model: the network that is attacked.
        rounds: what was shared.
        start: images to start from, (runs, batch, channels, height, width), or None.
        numbers: by the name that the caller knows, such as {"steps": 300}.
    """
    for name, number in {**numbers, "rounds": len(rounds)}.items():
        if not isinstance(number, int):
            raise ValueError(f"an attack needs a whole number of {name}, got {number!r}")
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
    protocols = {shared.protocol for shared in rounds}
    if len(protocols) > 1:
        raise ValueError(
            f"rounds of {len(protocols)} protocols cannot run together; give them the same "
            "Protocol object, or invert them one by one"
        )
    if start is not None:
        _check_start(start, (len(rounds), *rounds[0].x_shape))


def _check_start(start: Tensor, wanted: tuple[int, ...]) -> None:
    if start.shape != wanted:
        raise ValueError(
            f"a start for these rounds has the shape {wanted}, runs first, got {tuple(start.shape)}"
        )
    if not start.is_floating_point() or not start.isfinite().all():
        raise ValueError(
            f"a start has finite numbers in floating point, got {start.dtype}, of which "
            f"{int((~start.isfinite()).sum())} are NaN or inf; divide bytes by 255"
        )


def run_seeds(generator: Generator | None, seeds: Sequence[int] | None, runs: int) -> list[int]:
    """One seed per run, so that its draws do not depend on its company; -1: it may draw none."""
    if generator is not None and seeds is not None:
        raise ValueError("a generator draws the seeds, but seeds came as well; pass one of the two")
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
    wrong = [seed for seed in seeds if not -1 <= seed < 2**63]
    if wrong:
        raise ValueError(f"seeds lie in 0 … 2**63 − 1, or are −1 for none, got {wrong[0]}")
    if len(seeds) != runs:
        raise ValueError(
            f"{len(seeds)} seeds came for {runs} runs; pass one for each, or a generator for all"
        )
    return seeds


def check_sought_targets(problem: Problem) -> None:
    """Raises ValueError if targets are optimised that the loss of the rounds does not take."""
    y = problem.unflatten(problem.start[0]).y
    if y is None or not y.is_floating_point():
        return
    protocol = problem.protocol
    outputs = outputs_of_zeros(problem.model, problem.rounds[0].x_shape)
    outputs = outputs.expand(len(y), *outputs.shape[1:])
    try:
        protocol.loss(outputs, protocol.as_targets(y))
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(
            f"{problem.attack.name} optimises the targets, and the loss of this round takes none "
            f"that can be: {error}; take an attack that reads the label, such as attacks.idlg, "
            "Protocol(as_targets=...) for other targets, or, of F.nll_loss, a model that ends with "
            "its logits, and cross-entropy, which is the same"
        ) from error
