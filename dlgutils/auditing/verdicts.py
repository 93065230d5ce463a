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
    read = [_of_images(report, images), _of_labels(report, images), *_of_masks(report)]
    text = "; ".join(read)
    return " ".join([f"{text[:1].upper()}{text[1:]}.", *_of_better(report), *_troubles(report)])


def leaks(report: Fields) -> list[str]:
    """What came back, by any probe, true or guessed: of "recognisable", "labels" and "others".

    The attacker may have chosen a finding that is not recognisable, where another one is.
    """
    findings = report["findings"]
    labels = [labels_of(finding) for finding in findings]
    found = {
        "recognisable": any(_recognisable(finding) for finding in findings),
        "labels": any(rate["successes"] for rate in labels if rate),
        "others": any(_leaks_other(finding) for finding in findings),
    }
    return [name for name, is_found in found.items() if is_found]


def clearest(report: Fields) -> int | None:
    """The finding with the most recognisable images: the attacker's choice, if none has more.

    A defender counts the worst; None: there are no images.
    """
    best, findings = report["best"], report["findings"]
    if best is None:
        return None
    return max(range(len(findings)), key=lambda k: (_recognisable(findings[k]), k == best))


def without_advice(report: Fields) -> str:
    """Why there is no advice, in a sentence."""
    if "recognisable" in leaks(report):
        return "No change could be tried in the time that was left; give the audit more of it."
    return "No image is recognisable, so no change was tried."


def labels_of(finding: Fields) -> Fields | None:
    """How many labels a finding has right, if it leaks; None: it says nothing of labels."""
    return finding["labels"] if finding["verdict"] == "leak" else None


def masks_of(finding: Fields) -> list[str]:
    """The dropout layers whose mask a finding read by itself, not with an image."""
    is_read = finding["verdict"] == "leak" and not finding["scores"]
    return [name.removesuffix(".mask") for name in finding["masks"]] if is_read else []


def count(rate: Fields | None) -> str:
    """Such as "3 of 8"; "" for None."""
    return f"{rate['successes']} of {rate['total']}" if rate else ""


def _leaks_other(finding: Fields) -> bool:
    """Whether it leaks something that is neither an image nor a label: a mask, a scale."""
    is_other = finding["masks"] or not finding["labels"]
    return finding["verdict"] == "leak" and not finding["scores"] and bool(is_other)


def _of_images(report: Fields, images: int) -> str:
    shown = clearest(report)
    if shown is None:
        return "no image came back"
    seen = _recognisable(report["findings"][shown])
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


def _of_masks(report: Fields) -> Iterator[str]:
    for finding in report["findings"]:
        names = masks_of(finding)
        if names:
            where = ", ".join(finding["read_from"])
            mask = "mask" if len(names) == 1 else "masks"
            verb = "is" if len(names) == 1 else "are"
            yield f"the {mask} of {', '.join(names)} {verb} visible in {where or 'the update'}"


def _of_better(report: Fields) -> Iterator[str]:
    """A remark where the attacker's choice has fewer images than another finding."""
    shown, best = clearest(report), report["best"]
    if shown != best:
        names = [report["findings"][k]["probe"] for k in (shown, best)]
        chosen = count(report["findings"][best]["scores"]["recognisable"])
        yield (
            f"They are those of “{names[0]}”; by its distance to the update the attacker would "
            f"choose “{names[1]}”, with {chosen} recognisable, unless they look at both."
        )


def _recognisable(finding: Fields) -> int:
    return finding["scores"]["recognisable"]["successes"] if finding["scores"] else 0


def _troubles(report: Fields) -> Iterator[str]:
    if not report["complete"]:
        yield "The audit was interrupted: what follows is what it had found."
    given = [finding["verdict"] for finding in report["findings"]]
    for verdict in ("failed", "not reached"):
        n = given.count(verdict)
        if n:
            was = "" if verdict == "failed" else "was " if n == 1 else "were "
            yield f"{n} {'probe' if n == 1 else 'probes'} {was}{verdict}."
