"""The cells of a grid: names of axes and values, all their combinations, and the rows they give."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from numbers import Real
from typing import Any

Axis = Iterable[Any] | Mapping[str, Any]
"""The values along one axis of a grid, or {what the table calls it: value}."""

NamedAxes = Mapping[str, Mapping[Any, Any]]
"""All axes with their names: {axis: {what the table calls it: value}}."""

Cell = Mapping[str, Any]
"""One combination of the axes: {axis: value}."""

Row = Mapping[str, Any]
"""A row of the table: {column: number, text or None}."""


def name_axes(grid: Mapping[str, Axis]) -> NamedAxes:
    """The axes with a name for each value.

    Raises ValueError for no axis at all, for an axis that is empty or not a list, and for values
    without a name or of equal names.
    """
    if not grid:
        raise ValueError("a grid has at least one axis, got none; try {'seed': range(10)}")
    return {axis: _name_values(axis, values) for axis, values in grid.items()}


def name_of(value: object) -> Any:
    """What tables and folders call a value. Raises ValueError for a value without a name."""
    if isinstance(value, str | Real | None):
        return value
    if isinstance(value, partial):
        given = [str(name_of(argument)) for argument in value.args]
        for key, argument in value.keywords.items():
            given.append(f"{key}={name_of(argument)}")
        return f"{name_of(value.func)}({', '.join(given)})"
    for attribute in ("name", "__name__"):
        name = getattr(value, attribute, None)
        if isinstance(name, str):
            return name
    raise ValueError(
        f"a {type(value).__name__} has no name for the table; give the axis as {{name: value}}"
    )


def combinations(axes: NamedAxes) -> list[Row]:
    """All combinations of the names, the last axis fastest."""
    return [dict(zip(axes, names, strict=True)) for names in product(*axes.values())]


def cells_of(axes: NamedAxes, combinations: Sequence[Row]) -> list[Cell]:
    """The values behind some combinations of names."""
    cells = []
    for names in combinations:
        cells.append({axis: axes[axis][name] for axis, name in names.items()})
    return cells


def check_rows(rows: Sequence[Row], cells: Sequence[Cell]) -> list[Row]:
    """The rows that a trial returned for these cells.

    Raises ValueError unless there is one for each cell, which holds numbers, text or None in
    columns that are not called like an axis.
    """
    if len(rows) != len(cells):
        raise ValueError(f"a trial returns one row for each cell, got {len(rows)} for {len(cells)}")
    for row, cell in zip(rows, cells, strict=True):
        both = sorted(row.keys() & cell.keys())
        if both:
            raise ValueError(
                f"the trial measured {both[0]}, but the table has an axis of that name; "
                "call it another name"
            )
        for column, value in row.items():
            if not isinstance(value, str | Real | None):
                raise ValueError(
                    f"a table holds numbers and text, got a {type(value).__name__} in {column}; "
                    "use .item()"
                )
    return list(rows)


def _name_values(axis: str, values: Axis) -> dict[Any, Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"axis {axis} is a list of values, got {values!r}; write [{values!r}]")
    if isinstance(values, Mapping):
        items = list(values.items())
    else:
        items = [(name_of(value), value) for value in values]
    named = dict(items)
    if not items or len(named) < len(items):
        raise ValueError(
            f"axis {axis} has {len(items)} values of {len(named)} names; it needs at least one "
            "value, each with a name of its own: leave duplicates out, or give {name: value}"
        )
    return named
