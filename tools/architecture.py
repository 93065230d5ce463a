"""The house as its code describes it: modules, floors, and which room imports which.

The one list of floors: the architecture test holds the code to it, CONTRIBUTING.md quotes it, and
`tools/book/draw_floors.py` draws it for the page *The library, name by name*.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "dlgutils"
FLOORS = (
    ("protocol", "metrics"),
    ("types",),
    ("storage", "data", "coordinates", "models", "plots"),
    ("federated",),
    ("analytic", "matching"),
    ("attacks",),
    ("sweeps", "javascript", "testing", "auditing"),
    ("widgets",),
)
"""Rooms, from the ground up: a room imports from lower floors, and from itself."""


def modules() -> dict[str, Path]:
    """{dotted name in the package: file}, such as "analytic.masks".

    Without `__init__` and `__main__` files, which hand on names and a call.
    """
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.stem not in ("__init__", "__main__"):
            found[".".join(path.relative_to(PACKAGE).with_suffix("").parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    """Everything that a file imports, wherever in it, by its full name.

    Raises ValueError for a relative import, which would hide the floor that it leads to.
    """
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path} has a relative import; write from dlgutils... import")
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_used(path: Path) -> set[str]:
    """The rooms of the package that a file imports from."""
    ours = (name.split(".") for name in imported(path))
    return {parts[1] for parts in ours if parts[0] == "dlgutils" and len(parts) > 1}


def uses() -> dict[str, set[str]]:
    """{room: the other rooms that it imports from}, for every room of the package."""
    found: dict[str, set[str]] = {room: set() for floor in FLOORS for room in floor}
    for name, path in modules().items():
        room = name.split(".")[0]
        found[room] |= rooms_used(path) - {room}
    return found


def floors_in_words() -> str:
    """The floors as CONTRIBUTING.md quotes them: "`types`, `metrics` → `storage`, …"."""
    return " → ".join(", ".join(f"`{room}`" for room in floor) for floor in FLOORS)
