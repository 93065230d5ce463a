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
from dlgutils.auditing.words import listed
from dlgutils.federated import Round
from dlgutils.federated.defenses import clip, noise
from dlgutils.protocol import Defense, Protocol
from dlgutils.types import Shared

_CLIP = 1.0
_SIGMAS = (0.01, 0.1, 1.0)  # of noise beside the clip
_FACTORS = (10, 100)  # by which noise that is there already grows
_STEPS = 5  # of local training, where there is one
_PRICE = "What it costs in accuracy is for you to measure: train with it."
_SHORTEST = 1.0  # seconds for one run, below which its silence says nothing


@dataclass(frozen=True)
class Change:
    """Another protocol in the place of that which the client has."""

    words: str  # "clip to 1 and add noise of 0.01"
    protocol: Protocol
    remark: str = _PRICE  # what the re-run does not show


def advise(
    secret: Round, best: Finding, clock: Clock, generator: Generator
) -> tuple[tuple[Advice, ...], bool]:
    """Changes, each with the same attacks run on it; and whether Ctrl-C came.

    First more and more noise, until no image is recognisable; then, in the time that is left, what
    changes the protocol otherwise.

    Args:
        secret: the client's round as it was.
        best: the finding that the attacker chose.
        clock: of the whole audit.
        generator: on the CPU, of the client's draws.
    """
    given: list[Advice] = []
    if not best.scores.recognisable.successes:
        return (), False
    noises, others = list(_noises(secret)), list(_others(secret.shared))
    while noises or others:
        own = clock.part(1 / (len(noises) + len(others)))
        if own.left < _SHORTEST:
            break
        change = noises.pop(0) if noises else others.pop(0)
        findings = _found_after(secret, change, own, generator)
        if own.interrupted:
            return tuple(given), True
        if findings is None or _is_unreached(best.probe, findings):
            continue
        given.append(_advice(change, best, findings, own.spent))
        if not given[-1].after.successes:
            noises = []
    return tuple(given), False


def _noises(secret: Round) -> Iterator[Change]:
    """Noise, from the least on."""
    protocol = secret.shared.protocol
    sigma = protocol.sigma
    if sigma:
        for factor in _FACTORS:
            words = f"noise of {factor * sigma:g} in place of {sigma:g}"
            yield Change(words, _with(protocol, noise(sigma * (factor**2 - 1) ** 0.5)))
        return
    for size in _SIGMAS:
        words = f"clip the update to {_CLIP:g} and add noise of {size:g}"
        yield Change(words, _with(protocol, clip(_CLIP), noise(size)))


def _others(shared: Shared) -> Iterator[Change]:
    """More local steps, and a classifier that stays at home, where that is possible."""
    protocol, head = shared.protocol, [name for name in shared.last_layer if name]
    if protocol.steps == 1:
        yield Change(
            f"{_STEPS} local steps of lr {protocol.lr:g} in place of one",
            replace(protocol, steps=_STEPS),
            "The attacker repeats them, so each evaluation takes longer.",
        )
    rest = tuple(name for name in shared.gradient if name not in head)
    if rest and len(rest) < len(shared.gradient):
        yield Change(
            f"keep {listed(name for name in head if name in shared.gradient)} on the device",
            replace(protocol, sent=rest),
            "In this re-run the server knows its weights; a classifier that never leaves is not "
            "learnt together.",
        )


def _with(protocol: Protocol, *added: Defense) -> Protocol:
    return replace(protocol, defenses=(*protocol.defenses, *added))


def _found_after(
    secret: Round, change: Change, clock: Clock, generator: Generator
) -> tuple[Finding, ...] | None:
    """What is found after a change; None: no search came to an end, which says nothing.

    Args:
        secret: the client's round as it was.
        change: in its protocol.
        clock: of this run.
        generator: on the CPU, of the client's draws.
    """
    changed = client_round(secret.model, secret.secret, generator, change.protocol)
    situation = Situation(secret.model, changed.shared, clock)
    findings = look(of_images(), situation, changed)
    best = attackers_choice(findings)
    searched = findings[-1].found is not None
    return findings if best is not None and searched else None


def _is_unreached(probe: str, findings: tuple[Finding, ...]) -> bool:
    """Whether a probe had no time, so that its silence says nothing."""
    return any(f.probe == probe and f.verdict == "not reached" for f in findings)


def _advice(
    change: Change, before: Finding, findings: tuple[Finding, ...], seconds: float
) -> Advice:
    """What a change does, in words and counts.

    Args:
        change: in the protocol.
        before: what the attacker chose without it.
        findings: with it.
        seconds: that they took.
    """
    found = findings[attackers_choice(findings)]
    counts = before.scores.recognisable, found.scores.recognisable
    told = [
        f"What applies to it, run again for {seconds:.0f} s: the best, {found.probe}, comes to a "
        f"median SSIM of {found.scores.ssim:.2f}.",
        change.remark,
    ]
    if counts[1].successes < counts[0].successes:
        told.append("A longer attack may find more.")
    if all(one.probe != before.probe or one.found is None for one in findings):
        told.append(f"What found the images before, {before.probe}, finds nothing here.")
    return Advice(change.words, " ".join(told), *counts)
