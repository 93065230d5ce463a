"""`python -m dlgutils audit`: a model and a folder in; a table, a page and an exit status out."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dlgutils.auditing import arguments, factories, folders
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
    return status(report, options.fail_on)


def status(report: Report, fail_on: str) -> int:
    """The exit status: 1 for a leak at or above the threshold, 2 for an audit that is no all-clear.

    fail_on: "recognisable", "labels" (images count as well), or "never".
    """
    above = {"recognisable": {"recognisable"}, "labels": {"recognisable", "labels"}, "never": set()}
    if above[fail_on].intersection(report.to_dict()["leaks"]):
        return LEAK
    looked = any(finding.verdict in ("leak", "quiet") for finding in report.findings)
    return NOTHING if report.complete and looked else FAILED


def _audited(options: argparse.Namespace) -> Report:
    protocol = arguments.protocol_of(options)
    _check_targets(options)
    pictures = folders.pictures_of(options.images, options.size, options.first)
    for sentence in pictures.skipped:
        _say(sentence)
    batch = pictures.x
    if options.labels:
        names = pictures.names
        y = folders.labels_of(names, options.images, options.labels, options.classes)
        batch = Batch(pictures.x, y)
    model = factories.model_of(options.model)
    if options.weights:
        factories.load_weights(model, options.weights)
    return audit(model, batch, protocol=protocol, budget=options.budget)


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
    sys.stdout.write(f"{report}\n")


def _fail(sentence: str) -> int:
    _say(sentence)
    return FAILED


def _say(sentence: str) -> None:
    sys.stderr.write(f"dlgutils audit: {sentence}\n")
