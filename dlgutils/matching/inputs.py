"""What `invert` is given: rounds that can run together, and a seed for each of them."""

from collections.abc import Mapping, Sequence
from operator import index

import torch
from torch import Generator, Tensor, nn

from dlgutils.federated.checks import check
from dlgutils.types import Shared


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
    wanted = (len(rounds), *rounds[0].x_shape)
    if start is not None and start.shape != wanted:
        raise ValueError(
            f"a start for these rounds has the shape {wanted}, runs first, got {tuple(start.shape)}"
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
