"""A report as text of at most 80 columns, for terminals and logs."""

import re
import textwrap
from collections.abc import Iterator
from html import escape

from dlgutils.auditing import verdicts
from dlgutils.auditing.verdicts import Fields

WIDTH = 80
PROBE = 18  # columns of a probe's name
VERDICT = 14  # of its verdict and time
GAP = "  "


def table(report: Fields) -> str:
    """A report as text: the verdict, the findings as a table, advice, and limits."""
    lines = [*_wrapped(report["verdict"]), ""]
    for fact in (report["model"], report["protocol"], f"audited in {report['seconds']:.1f} s"):
        lines += _wrapped(fact)
    lines += ["", _row("probe", "verdict", "what it found"), "─" * WIDTH]
    for finding in report["findings"]:
        lines += _of_finding(finding)
    lines += ["", "What would change it"]
    changes = [_in_words(advice) for advice in report["advice"]]
    for change in changes or [verdicts.without_advice(report)]:
        lines += _wrapped(change, "- ")
    if report["limits"]:
        lines += ["", "What this audit cannot see"]
    for limit in report["limits"]:
        lines += _wrapped(limit, "- ")
    return "\n".join(lines)


def seconds(number: float) -> str:
    """Such as "0.03 s" or "12 s"."""
    return (
        f"{number:.2f} s" if number < 1 else f"{number:.1f} s" if number < 10 else f"{number:.0f} s"
    )


def found_by(finding: Fields) -> str:
    """What a finding has right: "3 of 8 images recognisable, 8 of 8 labels right"; "": no count."""
    scores = finding["scores"] or {}
    images = verdicts.count(scores.get("recognisable"))
    labels = verdicts.count(verdicts.labels_of(finding))
    noun = "" if images.endswith(" of 1") or labels.endswith(" of 1") else "s"
    counts = (f"{images} image{noun} recognisable", images), (f"{labels} label{noun} right", labels)
    return ", ".join(words for words, number in counts if number)


def printable(words: str) -> str:
    """The words on one line, without what would steer a terminal."""
    shown = "".join(letter if letter.isprintable() else " " for letter in words)
    return " ".join(shown.split())


def escaped(words: str) -> str:
    """The words as HTML, on one line, without what cannot be shown; 17 364 is not broken."""
    return escape(re.sub(r"(?<=\d) (?=\d)", "\N{NO-BREAK SPACE}", printable(words)))


def _of_finding(finding: Fields) -> Iterator[str]:
    told = [finding["told"]]
    if found_by(finding):
        told.append(f"{found_by(finding)}.")
    if finding["certificate"]:
        told.append(f"Certificate: {finding['certificate']}.")
    if finding["read_from"]:
        told.append(f"Read from {', '.join(finding['read_from'])}.")
    column = [line for each in told for line in _lines(each, WIDTH - PROBE - VERDICT - 4)]
    left = _lines(finding["probe"], PROBE)
    middle = [verdicts.IN_WORDS[finding["verdict"]], seconds(finding["seconds"])]
    for k in range(max(len(column), len(left), len(middle))):
        cells = [part[k] if k < len(part) else "" for part in (left, middle, column)]
        yield _row(*cells)


def _in_words(advice: Fields) -> str:
    before, after = verdicts.count(advice["before"]), verdicts.count(advice["after"])
    noun = "image" if advice["before"]["total"] == 1 else "images"
    return f"{advice['change']}: {before} → {after} {noun} recognisable. {advice['told']}"


def _row(probe: str, verdict: str, told: str) -> str:
    return GAP.join((probe.ljust(PROBE), verdict.ljust(VERDICT), told)).rstrip()


def _wrapped(words: str, mark: str = "") -> list[str]:
    lines = _lines(words, WIDTH - len(mark))
    return [(mark if k == 0 else " " * len(mark)) + line for k, line in enumerate(lines)]


def _lines(words: str, width: int) -> list[str]:
    return textwrap.wrap(printable(words), width)
