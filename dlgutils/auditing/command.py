"""`python -m dlgutils audit`: a model and a folder in; a table, a page and an exit status out."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from dlgutils.auditing import arguments, factories, folders
from dlgutils.auditing.clock import seconds_of
from dlgutils.auditing.records import Report
from dlgutils.auditing.run import audit
from dlgutils.types import Batch

NOTHING, LEAK, FAILED = 0, 1, 2
"""The exit statuses."""


def main(words: Sequence[str]) -> int:
    """Do what a command line says: the exit status.

    The table goes to standard output, what went wrong to standard error, a sentence each.

    words: without the name of the program. Raises SystemExit after --help.
    """
    try:
        options = arguments.parse(words)
        report = _audited(options)
        _write(report, options)
    except KeyboardInterrupt:
        return _fail("interrupted before there was anything to report")
    except (ValueError, OSError) as error:
        return _fail(" ".join(str(error).split()))
    except Exception as error:
        return _fail(f"the audit broke: {factories.told(error)}")
    ended = status(report, options.fail_on)
    if ended == FAILED:
        _say("no attack on the images came to its end, so this is no all-clear; try --budget 300")
    return ended


def status(report: Report, fail_on: str) -> int:
    """The exit status: 1 for a leak at or above the threshold, 2 for an audit that is no all-clear.

    fail_on: "recognisable", "labels" (images count as well), or "never".
    """
    above = {"recognisable": {"recognisable"}, "labels": {"recognisable", "labels"}, "never": set()}
    if above[fail_on].intersection(report.to_dict()["leaks"]):
        return LEAK
    return NOTHING if report.complete and _looked(report) else FAILED


def _looked(report: Report) -> bool:
    """Whether an attack looked for images, or none of them applies."""
    cut_short = any(finding.verdict in ("failed", "not reached") for finding in report.findings)
    return report.best is not None or not cut_short


def _audited(options: argparse.Namespace) -> Report:
    protocol, seconds = arguments.protocol_of(options), seconds_of(options.budget)
    _check_targets(options)
    model = factories.model_of(options.model)
    if options.weights:
        factories.load_weights(model, options.weights)
    pictures = folders.pictures_of(options.images, options.size, options.first)
    for sentence in pictures.skipped:
        _say(sentence)
    x = pictures.x.to(next(model.parameters(), pictures.x))
    batch, classes = x, options.classes
    if options.labels == "folders" and not classes:
        classes = folders.class_folders(options.images)
        if classes:
            _say(f"classes are numbered in the order of their folders: 0 is {classes[0]}")
    if options.labels:
        y = folders.labels_of(pictures.names, options.images, options.labels, classes)
        batch = Batch(x, y.to(x.device))
    return audit(
        model,
        batch,
        protocol=protocol,
        class_names=classes,
        budget=seconds,
        progress=sys.stderr.isatty(),
    )


def _check_targets(options: argparse.Namespace) -> None:
    """Raises ValueError, before anything is done, where a file is wanted that cannot be written."""
    for path in (options.html, options.json):
        if path and (Path(path).is_dir() or not Path(path).absolute().parent.is_dir()):
            raise ValueError(f"{path} cannot be written; choose a file in a folder that exists")


def _write(report: Report, options: argparse.Namespace) -> None:
    if options.html:
        report.to_html(options.html)
    if options.json:
        report.to_json(options.json)
    _put(f"{report}\n", sys.stdout)


def _fail(sentence: str) -> int:
    _say(sentence)
    return FAILED


def _say(sentence: str) -> None:
    _put(f"dlgutils audit: {sentence}\n", sys.stderr)


def _put(words: str, stream: TextIO) -> None:
    """Write words; letters that the stream does not have become question marks."""
    encoding = stream.encoding or "utf-8"
    stream.write(words.encode(encoding, "replace").decode(encoding))
