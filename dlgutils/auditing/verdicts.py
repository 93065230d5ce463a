"""What a report comes to, in one sentence, and which thresholds it passes."""

from collections.abc import Iterator, Mapping
from typing import Any

Fields = Mapping[str, Any]
"""A report or a finding as plain values, by field."""

IN_WORDS = {
    "leak": "leak",
    "quiet": "quiet",
    "inapplicable": "does not apply",
    "failed": "failed",
    "not reached": "not reached",
}
"""The verdicts of findings, as people read them."""


def sentence(report: Fields, images: int) -> str:
    """The verdict: images first, then labels, then what else was read, and what went wrong."""
    read = [_of_images(report, images), _of_labels(report, images), *_of_others(report)]
    text = "; ".join(part for part in read if part)
    return " ".join([f"{text[:1].upper()}{text[1:]}.", *_troubles(report)])


def leaks(report: Fields) -> list[str]:
    """What came back, by any probe, true or guessed: of "recognisable", "labels" and "others".

    The attacker may have chosen a finding that is not recognisable, where another one is.
    """
    findings = report["findings"]
    images = [f for f in findings if f["scores"] and f["scores"]["recognisable"]["successes"]]
    labels = [f for f in findings if labels_of(f) and labels_of(f)["successes"]]
    others = list(_other_leaks(report))
    found = {"recognisable": images, "labels": labels, "others": others}
    return [name for name, where in found.items() if where]


def labels_of(finding: Fields) -> Fields | None:
    """How many labels a finding has right, if it leaks; None: it says nothing of labels."""
    return finding["labels"] if finding["verdict"] == "leak" else None


def count(rate: Fields | None) -> str:
    """Such as "3 of 8"; "" for None."""
    return f"{rate['successes']} of {rate['total']}" if rate else ""


def _of_images(report: Fields, images: int) -> str:
    best = report["best"]
    if best is None:
        return "no image came back"
    seen = report["findings"][best]["scores"]["recognisable"]["successes"]
    if images == 1:
        return "the image is recognisable" if seen else "the image is not recognisable"
    if seen == images:
        return f"all {images} images are recognisable"
    if seen == 0:
        return f"none of the {images} images is recognisable"
    return f"{seen} of {images} images {'is' if seen == 1 else 'are'} recognisable"


def _of_labels(report: Fields, images: int) -> str:
    read = [labels_of(finding) for finding in report["findings"]]
    most = max((rate["successes"] for rate in read if rate), default=0)
    if images == 1:
        return "its label is read" if most else "its label is not read"
    if most == 0:
        return "no label is read"
    if most == images:
        return "all labels are read"
    return f"{most} of {images} labels {'is' if most == 1 else 'are'} read"


def _of_others(report: Fields) -> Iterator[str]:
    for finding in _other_leaks(report):
        names = ", ".join(finding["masks"])
        what = f"the dropout mask of {names}" if names else f"what “{finding['probe']}” reads"
        where = ", ".join(finding["read_from"])
        yield f"{what} is visible{f' in {where}' if where else ''}"


def _other_leaks(report: Fields) -> Iterator[Fields]:
    """What leaks and is neither an image nor a label: a mask, a scale, features."""
    for finding in report["findings"]:
        is_other = finding["masks"] or not (finding["scores"] or finding["labels"])
        if finding["verdict"] == "leak" and is_other:
            yield finding


def _troubles(report: Fields) -> Iterator[str]:
    if not report["complete"]:
        yield "The audit was interrupted: what follows is what it had found."
    given = [finding["verdict"] for finding in report["findings"]]
    for verdict in ("failed", "not reached"):
        n = given.count(verdict)
        if n:
            was = "" if verdict == "failed" else "was " if n == 1 else "were "
            yield f"{n} {'probe' if n == 1 else 'probes'} {was}{verdict}."
