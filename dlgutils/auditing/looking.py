"""Probes one after the other: each with its time, and none brings the others down."""

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps

from tqdm.auto import tqdm

from dlgutils.auditing.deadline import Deadline, TimeIsUpError
from dlgutils.auditing.records import Finding
from dlgutils.auditing.scoring import scored
from dlgutils.auditing.situation import Situation
from dlgutils.federated import Round

Probe = Callable[[Situation], Finding]
"""What looks at one round. It raises ValueError, with the reason, where it does not apply."""

_SHARE = 0.6  # of the time that is left: what one reading may take


def look(
    probes: Mapping[str, Probe], situation: Situation, secret: Round, *, progress: bool = False
) -> tuple[Finding, ...]:
    """A finding of each probe, in their order, scored: *not reached* once the time is over.

    Ctrl-C ends it, and is noted in the situation's clock.

    Args:
        probes: by name.
        situation: what each of them gets.
        secret: the client's round, against which findings are scored.
        progress: show a tqdm bar, one tick a probe.
    """
    findings = []
    clock = situation.clock
    with tqdm(total=len(probes), desc="audit", unit=" probes", disable=not progress) as bar:
        for name, probe in probes.items():
            bar.set_postfix_str(name)
            findings.append(_one(name, probe, situation, secret))
            bar.update()
        bar.set_postfix_str("interrupted" if clock.interrupted else "")
    return tuple(findings)


def in_time(probe: Probe, share: float = _SHARE) -> Probe:
    """The probe, stopped where it takes more than a share, in [0, 1], of the time that is left.

    It is for readings, of which nothing is left then: a search that is stopped has an image.
    """

    @wraps(probe)
    def limited(situation: Situation) -> Finding:
        with Deadline(situation.clock.part(share)):
            return probe(situation)

    return limited


def _one(name: str, probe: Probe, situation: Situation, secret: Round) -> Finding:
    clock = situation.clock
    if clock.interrupted:
        return Finding(name, "not reached", "The audit was interrupted before.")
    if not clock.left:
        return Finding(name, "not reached", "The budget was spent before.")
    started = time.monotonic()
    try:
        finding = scored(_guarded(name, probe, situation), secret)
    except KeyboardInterrupt:
        clock.interrupted = True
        finding = Finding(name, "not reached", "The audit was interrupted here.")
    return replace(finding, seconds=time.monotonic() - started)


def _guarded(name: str, probe: Probe, situation: Situation) -> Finding:
    """What the probe finds; an error becomes a finding, and warnings become part of it."""
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            finding = probe(situation)
    except ValueError as error:
        verdict = "inapplicable" if _is_ours(error) else "failed"
        return Finding(name, verdict, _sentence(error))
    except TimeIsUpError as late:
        return Finding(name, "not reached", _sentence(late))
    except Exception as error:
        return Finding(name, "failed", f"It broke: {type(error).__name__}: {_sentence(error)}")
    remarks = [_sentence(w.message) for w in heard if w.category is UserWarning]
    return replace(finding, probe=name, told=" ".join([finding.told, *dict.fromkeys(remarks)]))


def _is_ours(error: Exception) -> bool:
    """Whether the library itself raised it, with a reason, and not the model or what is below."""
    if isinstance(error.__cause__, RuntimeError):
        return False
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    return trace.tb_frame.f_globals.get("__name__", "").startswith("dlgutils")


def _sentence(error: Exception | str) -> str:
    """The words of an error as a sentence; a name at its beginning, such as "bn1", stays as it is.

    That is a word with a digit, a dot or an underscore in it.
    """
    text = str(error).strip() or type(error).__name__
    first = text.split()[0]
    start = f"{text[:1].upper()}{text[1:]}" if first.strip(",:;").isalpha() else text
    return start if text.endswith(".") else f"{start}."
