"""A report as a page of its own, and as a part of another page; both need no script."""

from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from string import Template

from dlgutils.auditing import page_parts as parts
from dlgutils.auditing.text import escaped
from dlgutils.auditing.verdicts import Fields
from dlgutils.types import Batch


def page(report: Fields, truth: Batch, found: Sequence[Batch | None]) -> str:
    """A whole page about a report, which asks for nothing from anywhere.

    report: as plain values. truth: what the client had. found: by each finding, in order.
    """
    first, rest = _cut(report["verdict"])
    return _template("page.html").substitute(
        style=_text("report.css") + _text("page.css"),
        title=escaped(f"{report['model']}: {first}"),
        kind="leak" if report["leaks"] else "quiet",
        verdict=escaped(first),
        remarks=f"<p>{escaped(rest)}</p>" if rest else "",
        model=escaped(report["model"]),
        images=parts.images(report, found, truth),
        overview=parts.overview(report),
        advice=parts.advice(report),
        details=parts.details(report),
        rest=parts.not_tried(report),
        limits=parts.limits(report),
        about=parts.definitions(_about(report)),
    )


def fragment(report: Fields, truth: Batch, found: Sequence[Batch | None]) -> str:
    """The verdict, pictures, a table, advice and limits, to stand on a page of any colours.

    The arguments are those of `page`.
    """
    return _template("fragment.html").substitute(
        style=_text("report.css"),
        verdict=escaped(report["verdict"]),
        images=parts.images(report, found, truth),
        table=parts.told(report),
        advice=parts.advice(report),
        limits=parts.limits(report),
    )


def _about(report: Fields) -> dict[str, str]:
    """What was audited, how, and by what: in HTML."""
    n, channels, height, width = report["shape"]
    size = f"{height} × {width} pixels, {channels} {'channel' if channels == 1 else 'channels'}"
    made = datetime.fromisoformat(report["written"])
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return {
        "Model": escaped(report["model"]),
        "Protocol": escaped(report["protocol"]),
        "Images": escaped(f"{n} of {size}"),
        "Time": escaped(f"{report['seconds']:.1f} s"),
        "Written": f'<time datetime="{made.isoformat()}">{made.day} {made:%B %Y, %H:%M} UTC</time>',
        "By": escaped(versions),
    }


def _cut(verdict: str) -> tuple[str, str]:
    """The first sentence of a verdict, and the others."""
    first, stop, rest = verdict.partition(". ")
    return (f"{first}.", rest) if stop else (verdict, "")


def _template(name: str) -> Template:
    return Template(_text(name))


def _text(name: str) -> str:
    return (resources.files("dlgutils.auditing") / "static" / name).read_text(encoding="utf-8")
