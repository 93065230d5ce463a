"""What an attacker makes of a guess, once the defences of a round are repeated on it."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dlgutils.federated.defenses.checks import require_row
from dlgutils.protocol import Defense, Effect
from dlgutils.types import Tensors

_ROUNDING = {Effect.ROUNDS, Effect.SHORTENS, Effect.SIGNS}
_SIGNIFICANT = 5  # standard deviations: noise alone is larger once in two million numbers
_CHANGING = {Effect.SCALES, Effect.REMOVES}


class _Rounding(NamedTuple):
    """A rounding after which numbers were scaled or removed."""

    defense: Defense
    rounded: Tensors  # the guess as the client would have rounded it, scaled as it was later
    times: int  # how often it was done: half precision again after each clip
    pruned: bool  # whether numbers were removed later


# Where a clip or pruning follows a rounding, what was sent says in which interval a number lay only
# once the guess has been scaled and pruned, too: those come first, and the intervals last.
def imitate(defenses: Iterable[Defense], made: Tensors, sent: Tensors) -> Tensors:
    """What was made of a guess as the nearest gradient that would have been sent as `sent`.

    It is `sent` if the guess may be right, for defences that add nothing; differentiable in `made`.
    But where one pruning comes before a clip and another one after it, how long the gradient was in
    between is no longer seen, and the right guess is a little away. What was pruned is told from
    noise that came later by the noise's size; after a clip of that noise it cannot be.

    Args:
        defenses: of the round, in their order.
        made: the gradient of a guess, with the names of `sent`.
        sent: what the server saw.

    Raises ValueError for what is no row of defences.
    """
    row = require_row(defenses)
    client = {name: g.detach() for name, g in made.items()}  # as it would have it, were it right
    roundings: list[_Rounding] = []
    for place, defense in enumerate(row):
        after = row[place + 1 :]
        later = [other.effect for other in after]
        if defense.effect in _ROUNDING and _CHANGING & set(later):
            again = later.count(Effect.SCALES) if defense.effect is Effect.SHORTENS else 0
            if defense.effect is not Effect.SHORTENS:  # which hardly changes a length
                client = defense(client)
            roundings.append(_Rounding(defense, client, 1 + again, Effect.REMOVES in later))
            continue
        visible = _above_noise(sent, after) if defense.effect is Effect.REMOVES else sent
        before, made = made, defense.imitate(made, visible)
        if roundings:
            client, factor = _follow(defense, client, visible)
            roundings = [r._replace(rounded=_times(factor, r.rounded)) for r in roundings]
            made = _scaled_alike(defense, before, made, factor)
    for rounding in roundings:
        made = _within(rounding, made, sent)
    return made


# Noise fills the zeros of what was pruned. A number that may be noise alone is taken for one of
# them: of those that were kept, it would say little more than the noise does.
def _above_noise(sent: Tensors, after: Sequence[Defense]) -> Tensors:
    """What was sent, with zeros where it may be noise that came after pruning."""
    sigma = math.hypot(*(defense.sigma for defense in after))
    scaled = any(defense.effect is Effect.SCALES for defense in after)
    if not sigma or scaled:
        return sent
    return {name: torch.where(g.abs() > _SIGNIFICANT * sigma, g, 0) for name, g in sent.items()}


def _follow(defense: Defense, client: Tensors, sent: Tensors) -> tuple[Tensors, Tensor | float]:
    """What the client has after a defence, and the factor by which it was scaled."""
    after = defense.imitate(client, sent)
    scaled = defense.effect is Effect.SCALES
    return after, _length(after) / _length(client) if scaled else 1.0


def _scaled_alike(
    defense: Defense, before: Tensors, made: Tensors, factor: Tensor | float
) -> Tensors:
    """What was made, scaled by the client's factor: rounding had changed the length."""
    if defense.effect is not Effect.SCALES:
        return made
    own = (_length(made) / _length(before)).detach()
    return _times(factor / own, made)


# Numbers that were pruned are no longer there to say how wide the intervals were. In their places
# stand those of the guess.
def _within(rounding: _Rounding, made: Tensors, sent: Tensors) -> Tensors:
    """What was made, as far as it is outside the intervals around what was sent."""
    removed = {name: (g == 0) & rounding.pruned for name, g in sent.items()}
    filled = {}
    for name, g in sent.items():
        filled[name] = torch.where(removed[name], rounding.rounded[name].to(g), g)
    for _ in range(rounding.times):
        moved = rounding.defense.imitate(made, filled)
        made = {name: torch.where(removed[name], made[name], moved[name]) for name in sent}
    return made


def _times(factor: Tensor | float, gradient: Tensors) -> Tensors:
    return {name: factor * g for name, g in gradient.items()}


def _length(gradient: Tensors) -> Tensor:
    squared = sum(g.square().sum() for g in gradient.values())
    return squared.clamp(min=torch.finfo(squared.dtype).tiny).sqrt()
