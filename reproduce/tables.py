"""Tables of measured rows, printed or written one by one as they come."""

import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm.auto import tqdm

import dlgutils

COMMITTED = Path(dlgutils.__file__).parent / "tables"
"""The folder of the tables that the library comes with."""


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table, each row at once, above the progress bar if there is one."""
    _print_line(head)
    tqdm.write("|" + "---|" * len(head), file=sys.stdout)
    for row in rows:
        _print_line([_format(value) for value in row])


def write_table(path: Path, columns: Sequence[str], rows: Iterable[dict[str, object]]) -> None:
    """Write a CSV file, each row at once."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(row)
            file.flush()


def _print_line(cells: Sequence[str]) -> None:
    tqdm.write(f"| {' | '.join(cells)} |", file=sys.stdout)
    sys.stdout.flush()


def _format(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
