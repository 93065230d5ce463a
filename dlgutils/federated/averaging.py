"""Many rounds of the same images: what noise does not survive."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from dlgutils.federated.defenses import noise
from dlgutils.protocol import Defense, Effect
from dlgutils.types import Shared


def average(rounds: Sequence[Shared]) -> Shared:
    """The mean of rounds of the same images and weights, in which noise is √n times smaller.

    Its protocol says so: the noise at the end of the defences, Gaussian or Laplacian, is replaced
    by Gaussian noise of σ/√n. That is why the accounts of differential privacy run over all rounds.
    That the images are the same is for the caller to know, as is that the model has no dropout,
    whose masks differ from round to round.

    Raises ValueError for no rounds, for what is no list of rounds, for rounds of other weights,
    shapes or protocols, for two with the same noise, for rounds without noise, and where the noise
    is not the last defence, or comes after one that may remove other numbers in every round.
    """
    rounds = _require_rounds(rounds)
    _check_alike(rounds)
    first, protocol = rounds[0], rounds[0].protocol
    before = _before_the_noise(protocol.defenses)
    if protocol.sigma:
        _check_drawn_anew(rounds)
    gradient = {}
    for name in first.gradient:
        gradient[name] = torch.stack([shared.gradient[name] for shared in rounds]).mean(0)
    left = noise(protocol.sigma / math.sqrt(len(rounds)))
    return replace(first, gradient=gradient, protocol=replace(protocol, defenses=(*before, left)))


def _require_rounds(rounds: Sequence[Shared]) -> list[Shared]:
    several = list(rounds) if isinstance(rounds, Iterable) else [None]
    if not several:
        raise ValueError("no rounds came, of which there is no mean; pass a list of them")
    if not all(isinstance(shared, Shared) for shared in several):
        raise ValueError(
            f"average takes a list of rounds, each a Shared, got a {type(rounds).__name__}; pass "
            "such as [first, second], of the same images and weights"
        )
    return several


def _check_alike(rounds: list[Shared]) -> None:
    first = rounds[0]
    for shared in rounds[1:]:
        same = shared.weights.keys() == first.weights.keys()
        same = same and all(w.equal(first.weights[name]) for name, w in shared.weights.items())
        same = same and shared.gradient.keys() == first.gradient.keys()
        if not same or (shared.x_shape, shared.protocol) != (first.x_shape, first.protocol):
            raise ValueError(
                "these rounds differ in weights, tensors, shapes or protocols, so that their mean "
                "is the update of no client; average rounds of one client with the same weights"
            )


def _check_drawn_anew(rounds: list[Shared]) -> None:
    seen: dict[tuple[float, ...], Shared] = {}
    for shared in rounds:
        sums = tuple(float(g.double().sum()) for g in shared.gradient.values())
        seen_before = sums in seen
        other = seen.setdefault(sums, shared)
        repeated = all(g.equal(other.gradient[name]) for name, g in shared.gradient.items())
        if repeated and seen_before:
            raise ValueError(
                "two of these rounds have the same noise to the last bit, which a mean of them "
                "does not make smaller; draw each with the same generator, not with the same seed"
            )


def _before_the_noise(row: tuple[Defense, ...]) -> tuple[Defense, ...]:
    """The defences before the noise at the end; raises ValueError if a mean does not help."""
    count = sum(defense.effect is Effect.ADDS for defense in row)
    before, noisy = row[: len(row) - count], row[len(row) - count :]
    if not count or any(defense.effect is not Effect.ADDS for defense in noisy):
        raise ValueError(
            "a mean of rounds helps where noise is the last of their defences, here they are "
            f"{[defense.name for defense in row]}; attack the rounds one by one"
        )
    other = [defense for defense in before if defense.effect is not Effect.SCALES]
    if other:
        raise ValueError(
            f"{other[0].name} comes before the noise and may change every round in another way, so "
            "that the mean is that of no gradient; attack the rounds one by one"
        )
    return before
