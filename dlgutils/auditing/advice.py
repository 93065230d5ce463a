"""What would change the findings: nothing is advised that was not run again."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Generator

from dlgutils.auditing.client import client_round
from dlgutils.auditing.clock import Clock
from dlgutils.auditing.looking import look
from dlgutils.auditing.probes.order import OF_IMAGES, PROBES
from dlgutils.auditing.records import Advice, Finding
from dlgutils.auditing.scoring import attackers_choice, none_of
from dlgutils.auditing.situation import Situation
from dlgutils.federated import Round
from dlgutils.federated.defenses import clip, noise
from dlgutils.metrics import Rate
from dlgutils.protocol import Defense

_CLIP = 1.0
_SIGMAS = (0.01, 0.1, 1.0)  # of noise beside the clip
_FACTORS = (10, 100)  # by which noise that is there already grows
_SHORTEST = 1.0  # seconds for one run, below which its silence says nothing


@dataclass(frozen=True)
class Change:
    """A row of defences in the place of that which the client has."""

    words: str  # "clip to 1 and add noise of 0.01"
    defenses: tuple[Defense, ...]


def advise(
    secret: Round, best: Finding, clock: Clock, generator: Generator
) -> tuple[tuple[Advice, ...], bool]:
    """Changes, each with the same attacks run on it, from the least on; and whether Ctrl-C came.

    It ends with the first change after which no image is recognisable, or with the time.

    Args:
        secret: the client's round as it was.
        best: the finding that the attacker chose.
        clock: of the whole audit.
        generator: on the CPU, of the client's draws.
    """
    before = best.scores.recognisable
    given: list[Advice] = []
    if not before.successes:
        return (), False
    changes = list(_changes(secret))
    for k, change in enumerate(changes):
        own = clock.part(1 / (len(changes) - k))
        if own.left < _SHORTEST:
            break
        after, told = _after(secret, change, own, generator)
        if own.interrupted:
            return tuple(given), True
        given.append(Advice(change.words, told, before, after))
        if not after.successes:
            break
    return tuple(given), False


def _changes(secret: Round) -> Iterator[Change]:
    """What may help, the cheapest first."""
    row = secret.shared.protocol.defenses
    sigma = secret.shared.protocol.sigma
    if sigma:
        for factor in _FACTORS:
            added = noise(sigma * (factor**2 - 1) ** 0.5)
            yield Change(f"noise of {factor * sigma:g} in place of {sigma:g}", (*row, added))
        return
    for size in _SIGMAS:
        words = f"clip the update to {_CLIP:g} and add noise of {size:g}"
        yield Change(words, (*row, clip(_CLIP), noise(size)))


def _after(secret: Round, change: Change, clock: Clock, generator: Generator) -> tuple[Rate, str]:
    """What is recognisable after a change, and what that is worth."""
    protocol = replace(secret.shared.protocol, defenses=change.defenses)
    changed = client_round(secret.model, secret.secret, generator, protocol)
    situation = Situation(secret.model, changed.shared, clock)
    findings = look({name: PROBES[name] for name in OF_IMAGES}, situation, changed)
    best = attackers_choice(findings)
    spent = (
        f"The same attacks, run again for {clock.spent:.0f} s. What it costs in accuracy is for "
        "you to measure: train with it."
    )
    if best is None:
        return none_of(len(secret.secret.x)), f"No attack found any image. {spent}"
    found = findings[best]
    told = f"The best of the attacks was {found.probe}, with a median SSIM of {found.scores.ssim:.2f}."
    return found.scores.recognisable, f"{told} {spent}"
