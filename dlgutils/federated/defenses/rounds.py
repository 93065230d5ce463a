"""Defences in a row: as a client applies them, and as its attacker repeats them."""

from collections.abc import Iterable
from dataclasses import replace

from torch import Generator

from dlgutils.federated.defenses.checks import require_row
from dlgutils.protocol import Defense
from dlgutils.types import Shared, Tensors


def unknown() -> Defense:
    """Stands for what an attacker does not know: nothing is checked, and nothing repeated.

    `replace(shared, protocol=Protocol(defenses=(unknown(),)))` is the round as somebody sees it who
    has to take what was sent for the gradient; with `Protocol()` instead, an update that cannot be
    one is refused.
    """
    return _UNKNOWN


def _unchanged(gradient: Tensors, _: Generator | None) -> Tensors:
    return gradient


_UNKNOWN = Defense("an unknown change", _unchanged)


def defend(
    shared: Shared, defenses: Iterable[Defense], generator: Generator | None = None
) -> Shared:
    """The round as the server sees it after these defences, applied in this order.

    shared: a round, perhaps defended already. defenses: such as `[noise(1e-3)]`; the protocol tells
    of them. generator: on the CPU; all defences that draw draw from it. Raises ValueError for what
    is no round, or no row of defences.
    """
    defenses = require_row(defenses)
    if not isinstance(shared, Shared):
        raise ValueError(
            f"defences change one round, a Shared, got a {type(shared).__name__}; of several, "
            "defend each by itself"
        )
    gradient = shared.gradient
    for defense in defenses:
        gradient = defense(gradient, generator)
    protocol = replace(shared.protocol, defenses=(*shared.protocol.defenses, *defenses))
    return replace(shared, gradient=gradient, protocol=protocol)


def imitate(defenses: Iterable[Defense], made: Tensors, sent: Tensors) -> Tensors:
    """What was made of a guess as the nearest gradient that would have been sent as `sent`.

    It is `sent` if the guess may be right, for defences that add nothing; differentiable in `made`.
    Rounding comes last for that: where a clip or pruning follows it, what was sent no longer says
    how wide the intervals were, and the right guess is a little away from it.

    Args:
        defenses: of the round, in their order.
        made: the gradient of a guess, with the names of `sent`.
        sent: what the server saw.

    Raises ValueError for what is no row of defences.
    """
    for defense in require_row(defenses):
        made = defense.imitate(made, sent)
    return made
