"""Which tests `make unit` leaves out for their length: python -m tools.slow_tests [tests.xml ...]

`make library` writes down how long every test took. From these reports this makes tests/slow.csv
anew: the tests whose cases are longest, each with the seconds of all its cases, until the others
together take just under a minute of one core. Tests that say themselves that they are slow
are left out before. Take the reports on a machine that is not busy.
"""

import csv
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "_build" / "tests.xml"
LIST = ROOT / "tests" / "slow.csv"
BUDGET = 56.0
"""Seconds of one core for all that is left; two cores share them, and starting takes time too."""


def cases(report: Path) -> Iterator[tuple[str, float]]:
    """Each case of a JUnit report: "tests/house/test_a.py::test_b" and its seconds."""
    for case in ElementTree.parse(report).iter("testcase"):
        file = case.get("classname", "").replace(".", "/")
        name = case.get("name", "").partition("[")[0]
        yield f"{file}.py::{name}", float(case.get("time", 0))


def longest(times: Iterable[tuple[str, float]], budget: float) -> dict[str, float]:
    """The tests of the longest cases, without which the others take at most `budget` seconds.

    {name: seconds of all its cases}, those with the longest cases first.
    """
    sums, counts = Counter(), Counter()
    for name, seconds in times:
        sums[name] += seconds
        counts[name] += 1
    left = sums.total()
    found = {}
    for name in sorted(sums, key=lambda name: sums[name] / counts[name], reverse=True):
        if left <= budget:
            break
        found[name] = sums[name]
        left -= sums[name]
    return found


def listed(path: Path = LIST) -> dict[str, float]:
    """The tests of the list, with their seconds."""
    with path.open(encoding="utf-8", newline="") as lines:
        return {row["test"]: float(row["seconds"]) for row in csv.DictReader(lines)}


def write(tests: dict[str, float], path: Path = LIST) -> None:
    """Write the list, by name."""
    rows = [f"{name},{seconds:.1f}" for name, seconds in sorted(tests.items())]
    path.write_text("\n".join(["test,seconds", *rows]) + "\n", encoding="utf-8")


def main(reports: list[Path]) -> None:
    """Make the list anew."""
    write(longest((case for report in reports for case in cases(report)), BUDGET))


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or [REPORT])
