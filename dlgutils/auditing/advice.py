"""What would change the findings: nothing is advised that was not run again."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Generator

from dlgutils.auditing.client import client_round
from dlgutils.auditing.clock import Clock
from dlgutils.auditing.looking import look
from dlgutils.auditing.probes.order import of_images
from dlgutils.auditing.records import Advice, Finding
from dlgutils.auditing.scoring import attackers_choice
from dlgutils.auditing.situation import Situation
from dlgutils.federated import Round
from dlgutils.federated.defenses import clip, noise
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
        found = _found_after(secret, change, own, generator)
        if own.interrupted:
            return tuple(given), True
        if found is None:
            continue
        after = found.scores.recognisable
        given.append(Advice(change.words, _told(found, own.spent), before, after))
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


def _found_after(
    secret: Round, change: Change, clock: Clock, generator: Generator
) -> Finding | None:
    """What the attacker chooses after a change; None: no search came to an end, which says nothing.

    Args:
        secret: the client's round as it was.
        change: in its defences.
        clock: of this run.
        generator: on the CPU, of the client's draws.
    """
    protocol = replace(secret.shared.protocol, defenses=change.defenses)
    changed = client_round(secret.model, secret.secret, generator, protocol)
    situation = Situation(secret.model, changed.shared, clock)
    findings = look(of_images(), situation, changed)
    best = attackers_choice(findings)
    searched = findings[-1].found is not None
    return findings[best] if best is not None and searched else None


def _told(found: Finding, seconds: float) -> str:
    return (
        f"The same attacks, run again for {seconds:.0f} s: the best, {found.probe}, comes to a "
        f"median SSIM of {found.scores.ssim:.2f}. What it costs in accuracy is for you to measure: "
        "train with it."
    )
