"""How much of a batch's images comes back, by dropout and by what the attacker knows?

Round k has seed k, which draws photographs, labels, the weights of a sigmoid LeNet (PyTorch's
default) and masks. Some labels are equal. Without dropout and in eval mode the labels are given;
the other attackers read them with the masks, by `separation.separate`. Images are matched with the
truth by the Hungarian method and clipped to [0, 1]; pairs.py has attackers without dropout who read
the features first.
`python -m reproduce.batches` writes batches.csv (about 15 CPU minutes, on all cores).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from types import MappingProxyType

import joblib
import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call
from tqdm.auto import tqdm

import dlgutils as du
from dlgutils import attacks, federated, metrics, models
from dlgutils.analytic import masks, separation
from dlgutils.types import Guess
from reproduce.inputs import all_images, told
from reproduce.tables import COMMITTED, write_table

COLUMNS = (
    "p",
    "attacker",
    "batch",
    "rounds",
    "evaluations",
    "median_mse",
    "below_1e-2",
    "below_1e-3",
    "images",
)
SIZES = MappingProxyType({2: 6, 4: 6, 8: 4})  # rounds by batch
TABLE = COMMITTED / "batches.csv"
KINDS = {
    "no dropout": 0.0,
    "eval mode": 0.5,
    "labels and masks": 0.5,
    "labels, masks and features": 0.5,
}
"""What an attacker knows, and the rate of the dropout that they face."""


def honest_round(batch: int, p: float, seed: int) -> federated.Round:
    """The round of one seed."""
    generator = Generator().manual_seed(seed)
    photos = all_images("photos").x
    order = torch.randperm(len(photos), generator=generator)
    x = photos[order[:batch]]
    y = torch.randint(12, (batch,), generator=generator)
    return federated.honest(models.lenet(dropout=p), du.Batch(x, y), generator)


def certain_reading(model: nn.Module, shared: du.Shared) -> masks.Reading:
    """The reading of a batch; AssertionError with the reason if it does not come apart."""
    found = separation.separate(model, shared)
    assert found.reading, found.reason
    return found.reading


def with_labels_given(rounds: Sequence[federated.Round]) -> du.Attack:
    """iDLG by an attacker who knows the labels and takes the network to be in eval mode."""
    labels = [Guess(y=one.secret.y) for one in rounds]
    return told(attacks.idlg, [one.shared for one in rounds], labels)


def labels_and_masks(model: nn.Module, shared: du.Shared) -> Guess:
    """Labels and masks as the separation finds them."""
    reading = certain_reading(model, shared)
    return Guess(y=reading.y, masks=reading.masks)


def with_features_read(model: nn.Module, shared: du.Shared) -> du.Attack:
    """iDLG with labels, masks and features read.

    Its prior draws each image towards one whose features are those that were read.
    """
    reading = certain_reading(model, shared)
    (mask,) = reading.masks.values()
    prior = feature_distance(model, shared, reading.features, mask)
    return replace(attacks.idlg, infer=labels_and_masks, prior=prior)


def feature_distance(
    model: nn.Module, shared: du.Shared, features: Tensor, mask: Tensor | None = None
) -> Callable[[Guess], Tensor]:
    """A prior: the squared distance of a LeNet's features from those that were read, relative.

    Args:
        model: the network.
        shared: has its weights.
        features: (batch, features), after dropout.
        mask: of the dropout, of the same shape; None: there is none.
    """
    wanted = features.to(shared.like)
    body = {}
    for name, weight in shared.weights.items():
        if name.startswith("body."):
            body[name.removeprefix("body.")] = weight

    def distance(guess: Guess) -> Tensor:
        got = functional_call(model.body, body, (guess.x,)).flatten(1)
        got = got if mask is None else got * mask
        return ((got - wanted) ** 2).sum() / (wanted**2).sum()

    return distance


def reconstruct(knows: str, rounds: Sequence[federated.Round], steps: int) -> Tensor:
    """The images that one attacker finds: (rounds, batch, channels, height, width) in [0, 1]."""
    if knows == "labels, masks and features":
        return reconstruct_with_features(rounds, steps)
    attack = with_labels_given(rounds)
    if knows == "labels and masks":
        attack = replace(attacks.idlg, infer=labels_and_masks)
    shared = [one.shared for one in rounds]
    seeds = range(len(rounds))
    result = du.invert(rounds[0].model, shared, attack, seeds=seeds, steps=steps)
    return result.x.clamp(0, 1)


def reconstruct_with_features(rounds: Sequence[federated.Round], steps: int) -> Tensor:
    """As `reconstruct`, round by round, since each has an attack with features of its own."""
    found = []
    for seed, one in enumerate(rounds):
        attack = with_features_read(one.model, one.shared)
        result = du.invert(one.model, one.shared, attack, seeds=[seed], steps=steps)
        found.append(result.x)
    return torch.cat(found).clamp(0, 1)


def row(knows: str, batch: int, seeds: Sequence[int], steps: int) -> dict[str, object]:
    """The row of one attacker and batch size, {column: value}.

    Args:
        knows: what the attacker knows, a key of KINDS.
        batch: the number of images.
        seeds: of the rounds.
        steps: evaluations of the matching loss.
    """
    torch.set_num_threads(1)
    p = KINDS[knows]
    rounds = [honest_round(batch, p, seed) for seed in seeds]
    found = reconstruct(knows, rounds, steps)
    errors = []
    for x, one in zip(found, rounds, strict=True):
        truth = one.secret.x
        errors.append(metrics.mse(metrics.align(x, truth), truth))
    mse = torch.cat(errors)
    return {
        "p": p,
        "attacker": knows,
        "batch": batch,
        "rounds": len(rounds),
        "evaluations": steps,
        "median_mse": f"{mse.median():.1e}",
        "below_1e-2": int((mse < 1e-2).sum()),
        "below_1e-3": int((mse < 1e-3).sum()),
        "images": len(mse),
    }


def rows(sizes: Mapping[int, int], steps: int) -> Iterator[dict[str, object]]:
    """All rows of the table, with a progress bar, computed on all cores."""
    cells = list(product(sizes, KINDS))
    one = joblib.delayed(row)
    tasks = [one(knows, batch, range(sizes[batch]), steps) for batch, knows in cells]
    found = joblib.Parallel(n_jobs=-1, return_as="generator")(tasks)
    yield from tqdm(found, total=len(tasks), desc="batches")


def main(sizes: Mapping[int, int] = SIZES, steps: int = 400) -> None:
    """Write the whole table; sizes: {batch: rounds}."""
    write_table(TABLE, COLUMNS, rows(sizes, steps))


if __name__ == "__main__":
    main()
