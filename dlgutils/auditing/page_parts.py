"""The parts of a page about a report, in HTML; all that comes from outside is escaped."""

from collections.abc import Iterable, Iterator, Sequence

from dlgutils.auditing import pictures, verdicts
from dlgutils.auditing.text import escaped, found_by, seconds
from dlgutils.auditing.verdicts import Fields
from dlgutils.types import Batch

NOT_TRIED = ("inapplicable", "not reached")


def badge(verdict: str) -> str:
    """A verdict in words, in a box of its colour."""
    kind = verdict.replace(" ", "-")
    return f'<span class="dlg-badge dlg-{kind}">{escaped(verdicts.IN_WORDS[verdict])}</span>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """A table whose first column names its rows; head and caption are text, rows are HTML."""
    columns = "".join(f'<th scope="col">{escaped(name)}</th>' for name in head)
    lines = []
    for first, *others in rows:
        cells = "".join(f"<td>{cell}</td>" for cell in others)
        lines.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    title = f"<caption>{escaped(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{columns}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def images(report: Fields, found: Sequence[Batch | None], truth: Batch) -> str:
    """The pictures of the finding with the most recognisable ones, beside the originals."""
    index = report["clearest"]
    if index is None:
        return "<p>No probe found an image.</p>"
    finding = report["findings"][index]
    words = [f"Left the client’s image, right what “{finding['probe']}” found of it."]
    if index == report["best"]:
        words.append("An attacker would choose this finding, without the originals.")
    n = len(finding["images"])
    if n > pictures.MOST:
        words.append(f"These are the {pictures.MOST} most similar of {n} images.")
    names = report["class_names"]
    pairs = pictures.pairs(finding["images"], found[index], truth, names)
    return f"<p>{escaped(' '.join(words))}</p>{pairs}{_scores(finding)}"


def _scores(finding: Fields) -> str:
    scores = finding["scores"]
    which = "The" if len(finding["images"]) == 1 else "Over all images, the median"
    words = [
        f"{which} SSIM is {_number(scores['ssim'], '.2f')}, where the original has 1",
        f"the squared error is {_number(scores['mse'])}, and that of a guess without the update "
        f"{_number(scores['baseline_mse'])}",
    ]
    if scores["identified"]:
        told_apart = verdicts.count(scores["identified"])
        words.append(f"{told_apart} can be told from the other images by what was found")
    return f"<p>{escaped('; '.join(words))}.</p>"


def _number(value: float | None, form: str = ".2g") -> str:
    return "not defined" if value is None else format(value, form)


def overview(report: Fields) -> str:
    """A table with a row for each probe that was tried: its verdict, and what it has right."""
    rows = []
    for number, finding in _tried(report):
        name = f'<a href="#probe-{number}">{escaped(finding["probe"])}</a>'
        rows.append((name, badge(finding["verdict"]), escaped(_came_back(finding)) or "–"))
    head = ("Probe", "Verdict", "Came back")
    return table(head, rows) if rows else "<p>No probe could be tried.</p>"


def _came_back(finding: Fields) -> str:
    images = verdicts.count((finding["scores"] or {}).get("recognisable"))
    labels = verdicts.count(verdicts.labels_of(finding))
    noun = "" if images.endswith(" of 1") or labels.endswith(" of 1") else "s"
    counts = [f"{n} {what}{noun}" for n, what in ((images, "image"), (labels, "label")) if n]
    masks = [f"the mask of {name}" for name in verdicts.masks_of(finding)]
    return ", ".join(part for part in (*counts, *masks) if part)


def _tried(report: Fields) -> Iterator[tuple[int, Fields]]:
    """The findings of probes that were tried, each with its number."""
    for number, finding in enumerate(report["findings"], 1):
        if finding["verdict"] not in NOT_TRIED:
            yield number, finding


def told(report: Fields) -> str:
    """A table with a row for each probe: its verdict, and what it found in words."""
    rows = []
    for finding in report["findings"]:
        name = escaped(finding["probe"])
        rows.append((name, badge(finding["verdict"]), escaped(finding["told"])))
    return table(("Probe", "Verdict", "What it found"), rows)


def details(report: Fields) -> str:
    """A section for each probe that was tried: its words, how the attacker knows, and where."""
    return "".join(_probe(number, finding) for number, finding in _tried(report))


def not_tried(report: Fields) -> str:
    """The other probes, each with its verdict and the reason."""
    reasons = {}
    for finding in report["findings"]:
        if finding["verdict"] in NOT_TRIED:
            told = f"{badge(finding['verdict'])} {escaped(finding['told'])}"
            reasons[finding["probe"]] = told
    return definitions(reasons) if reasons else "<p>All probes were tried.</p>"


def _probe(number: int, finding: Fields) -> str:
    heading = f"{escaped(finding['probe'])} {badge(finding['verdict'])}"
    facts = {}
    if finding["verdict"] in ("leak", "quiet"):
        confirmed = finding["certificate"] or "nothing that the attacker sees confirms it"
        facts["Evidence"] = escaped(confirmed)
    if found_by(finding):
        facts["Came back"] = escaped(found_by(finding))
    if finding["read_from"]:
        names = (f"<code>{escaped(name)}</code>" for name in finding["read_from"])
        facts["Read from"] = ", ".join(names)
    facts["Time"] = escaped(seconds(finding["seconds"]))
    body = f"<p>{escaped(finding['told'])}</p>{definitions(facts)}"
    return (
        f'<section class="probe" aria-labelledby="probe-{number}">'
        f'<h3 id="probe-{number}">{heading}</h3>{body}</section>'
    )


def definitions(facts: Fields) -> str:
    """Terms, which are text, each with what is said of it in HTML."""
    rows = (f"<div><dt>{escaped(term)}</dt><dd>{said}</dd></div>" for term, said in facts.items())
    return f"<dl>{''.join(rows)}</dl>"


def advice(report: Fields) -> str:
    """A table of changes: the images recognisable before and after, counted by audits."""
    if not report["advice"]:
        return f"<p>{escaped(verdicts.without_advice(report))}</p>"
    rows = []
    for each in report["advice"]:
        change = f"{escaped(each['change'])}<p>{escaped(each['told'])}</p>"
        counts = [verdicts.count(each[when]) for when in ("before", "after")]
        before, after = (f'<span class="dlg-count">{count}</span>' for count in counts)
        rows.append((change, before, after))
    return table(("Change", "Before", "After"), rows, "Images recognisable, by an audit of each")


def limits(report: Fields) -> str:
    """What the audit cannot see, as a list."""
    items = "".join(f"<li>{escaped(limit)}</li>" for limit in report["limits"])
    return f"<ul>{items}</ul>" if items else "<p>None were noted.</p>"
