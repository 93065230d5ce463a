"""The measures of the chapters: python -m tools.chapters prints a row for each.

The main text ends where the exercises begin. Not counted among its code cells are the one that
installs, the one with the parameters, and the questions.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
APART = {"remove-cell", "parameters", "remove-input"}
"""Tags of code cells that are not read as code."""


class Cell(NamedTuple):
    """A cell: its kind, its text and its tags."""

    kind: str
    text: str
    tags: frozenset[str]


class Chapter(NamedTuple):
    """A chapter in two parts, cell by cell."""

    name: str
    main: list[Cell]
    exercises: list[Cell]

    @property
    def words(self) -> int:
        """Words of the main text, without code."""
        return sum(len(cell.text.split()) for cell in self.main if cell.kind == "markdown")

    @property
    def code(self) -> list[list[str]]:
        """The lines of each code cell of the main text that is read as code."""
        read = (cell for cell in self.main if cell.kind == "code" and not cell.tags & APART)
        return [cell.text.splitlines() for cell in read]

    @property
    def columns(self) -> int:
        """The longest line of all code."""
        cells = (cell for cell in [*self.main, *self.exercises] if cell.kind == "code")
        return max(len(line) for cell in cells for line in cell.text.splitlines())

    @property
    def lines(self) -> int:
        """The lines of the longest code cell of the main text."""
        return max(len(cell) for cell in self.code)


def read(path: Path) -> Iterator[Cell]:
    """The cells of a notebook; a Markdown cell that holds the exercises' heading is cut there."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        kind = cell["cell_type"]
        tags = frozenset(cell["metadata"].get("tags", ()))
        before, heading, after = "".join(cell["source"]).partition("## Exercises")
        if kind == "markdown" and heading:
            yield Cell(kind, before, tags)
            yield Cell(kind, heading + after, tags)
        else:
            yield Cell(kind, before + heading + after, tags)


def chapter(path: Path) -> Chapter:
    """The chapter in a file."""
    cells = list(read(path))
    begin = [cell.text.startswith("## Exercises") for cell in cells].index(True)
    return Chapter(path.stem, cells[:begin], cells[begin:])


def chapters() -> list[Chapter]:
    """All chapters in order."""
    return [chapter(path) for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))]


def main() -> None:
    """Print the table."""
    print("| chapter | words | code cells | longest cell, lines | longest line, columns |")
    print("|---|---|---|---|---|")
    for found in chapters():
        counts = found.words, len(found.code), found.lines, found.columns
        print(f"| {found.name} | {' | '.join(str(count) for count in counts)} |")


if __name__ == "__main__":
    main()
