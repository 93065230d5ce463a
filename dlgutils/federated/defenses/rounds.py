"""Defences in a row, as a client applies them."""

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
