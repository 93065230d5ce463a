"""Ours beside the peers, on the same networks, photographs and gradients, in one run.

`python -m benchmarks.peers [images] [images of the published budgets]` prints Markdown tables: for
LeNets with the wide weights of the public code of DLG and iDLG and with PyTorch's initialisation,
what each finds after the same number of evaluations, and after the number that was published with
it. The peers are the public loops of DLG and iDLG (`reference`) and, where you have installed it,
breaching's Inverting Gradients (`breaching_adapter`). All take one image after another on one
thread; times are CPU time of this process.
"""

import copy
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import median
from typing import NamedTuple

import torch
from torch import Generator, Tensor

import dlgutils as du
from benchmarks import breaching_adapter, reference, speed
from benchmarks.attempts import FAILURES, attempt
from dlgutils import attacks, federated, metrics
from reproduce import recovery

IMAGES = 24
PUBLISHED = 4  # images that get the published budgets, which are long
EVALUATIONS = 300  # where all get the same number
LENIENT, STRICT = 1e-2, 1e-3  # mean squared errors
HEAD = (
    "attack",
    "evaluations",
    "CPU ms an evaluation",
    "CPU s an image",
    "MSE < 1e-2",
    "MSE < 1e-3",
    "median MSE",
)


class Found(NamedTuple):
    """The image, (1, channels, height, width), and after how many evaluations."""

    x: Tensor
    evaluations: int


Peer = Callable[[federated.Round, int], Found]
"""Attacks a round, with a seed for its start; it reads no secret of it."""


def ours(recipe: du.Attack, steps: int, one: federated.Round, seed: int) -> Found:
    """A recipe of this library on one round.

    Args:
        recipe: the attack.
        steps: evaluations.
        one: the round.
        seed: of the start.
    """
    result = du.invert(one.model, one.shared, recipe, seeds=[seed], steps=steps, frames=1)
    return Found(result.x[0], steps)


def loop(
    iterations: Callable[..., Iterator[tuple[Tensor, int]]],
    most: int,
    one: federated.Round,
    seed: int,
) -> Found:
    """A public loop on one round, until it is over or no number.

    Args:
        iterations: `reference.iterations` or `reference.joint_iterations`.
        most: evaluations after which no iteration begins.
        one: the round.
        seed: of the start.
    """
    model = copy.deepcopy(one.model)
    for x, evaluations in iterations(model, one.shared, Generator().manual_seed(seed)):
        if evaluations >= most or not x.isfinite().all():
            break
    return Found(x, evaluations)


def theirs(attack: str, steps: int, one: federated.Round, seed: int) -> Found:
    """An attack of breaching on one round.

    Args:
        attack: the name of its configuration.
        steps: iterations, of one evaluation each.
        one: the round.
        seed: of the start.
    """
    generator = Generator().manual_seed(seed)
    settings = [f"optim.max_iterations={steps}"]
    x = breaching_adapter.reconstruct(one.model, one.shared, generator, attack, settings)
    return Found(x, steps)


def equal(evaluations: int) -> dict[str, Peer]:
    """Everyone, with the same number of evaluations."""
    peers = {
        "DLG, public loop": partial(loop, reference.joint_iterations, evaluations),
        "iDLG, public loop": partial(loop, reference.iterations, evaluations),
    }
    if breaching_adapter.is_installed():
        peers["Inverting Gradients, breaching"] = partial(theirs, "invertinggradients", evaluations)
        peers["its “modern”"] = partial(theirs, "modern", evaluations)
    for recipe in (attacks.inverting, attacks.dlg, attacks.idlg):
        peers[f"{recipe.name}, ours"] = partial(ours, recipe, evaluations)
    return peers


def published() -> dict[str, Peer]:
    """The peers, with the number of evaluations that is published with each."""
    most = 20 * reference.ITERATIONS
    peers = {
        "DLG, public loop": partial(loop, reference.joint_iterations, most),
        "iDLG, public loop": partial(loop, reference.iterations, most),
    }
    if breaching_adapter.is_installed():
        peers["Inverting Gradients, breaching"] = partial(theirs, "invertinggradients", 24_000)
    return peers


def measured(peer: Peer, drawn: Sequence[federated.Round]) -> tuple[object, ...]:
    """The cells of a row: times are medians over the images, the first of which warms up."""
    evaluations, took, errors = [], [], []
    for seed, one in enumerate(drawn):
        begin = time.process_time()
        found = peer(one, seed)
        took.append(time.process_time() - begin)
        evaluations.append(found.evaluations)
        errors.append(metrics.mse(found.x, one.secret.x).nan_to_num(torch.inf))
    each = [1e3 * seconds / n for seconds, n in zip(took, evaluations, strict=True)]
    mse = torch.cat(errors)
    rates = [str(metrics.success_rate(mse < below)) for below in (LENIENT, STRICT)]
    return round(median(evaluations)), median(each), median(took), *rates, f"{mse.median():.1e}"


def rows(peers: Mapping[str, Peer], drawn: Sequence[federated.Round]) -> speed.Rows:
    """One row for each peer."""
    for name, peer in peers.items():
        yield attempt(name, len(HEAD), partial(measured, peer, drawn))


def main(images: str = str(IMAGES), few: str = str(PUBLISHED)) -> None:
    """Print the tables, and how to install what is missing."""
    torch.set_num_threads(1)
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    print(f"{versions}; one CPU thread; LeNet, 32×32 photographs")
    print(breaching_adapter.state(), flush=True)
    for network, setting in (("wide", speed.WIDE), ("default", speed.DEFAULT)):
        drawn = recovery.draw_rounds(setting, int(images))
        title = f"{network} weights, {EVALUATIONS} evaluations each"
        speed.table(title, HEAD, rows(equal(EVALUATIONS), drawn))
        title = f"{network} weights, as long as was published"
        if longer := drawn[: int(few)]:
            speed.table(title, HEAD, rows(published(), longer))
    print(*FAILURES, sep="\n\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
