"""Loops over the entries of several views of one shape, as JavaScript."""

from collections.abc import Sequence
from typing import NamedTuple

from dlgutils.javascript.views import View

_ARRAYS = "oabc"  # what a loop calls its arrays: the output and up to three operands


class Axis(NamedTuple):
    """One loop: how often it runs, and how far each of the views moves every time."""

    length: int
    strides: tuple[int, ...]

    def continues(self, outer: "Axis") -> bool:
        """Whether one long loop goes through both axes: each view leaves no gap between them."""
        joined = tuple(step * self.length for step in self.strides)
        return outer.strides == joined


class Nest(NamedTuple):
    """Nested loops, and the entry of each view inside them."""

    outer: str  # the loops in which the first view moves
    inner: str  # those in which it stays, so that its entry is a sum over them
    entries: list[str]


def nest(*views: View) -> Nest:
    """As few loops as the strides allow, through the first view as it lies in memory.

    views: at most four of one shape, which are the arrays o, a, b and c.
    """
    assert len(views) <= len(_ARRAYS), f"a loop has at most {len(_ARRAYS)} arrays"
    axes = _merged(views)
    outer, inner = "", ""
    for d, axis in enumerate(axes):
        head = f"for (let i{d} = 0; i{d} < {axis.length}; i{d}++) "
        if axis.strides[0]:
            outer += head
        else:
            inner += head
    entries = []
    for k, view in enumerate(views):
        steps = [axis.strides[k] for axis in axes]
        place = _place(steps, view.offset)
        entries.append(f"{_ARRAYS[k]}[{place}]")
    return Nest(outer, inner, entries)


def _merged(views: Sequence[View]) -> list[Axis]:
    """The axes of more than one entry, long strides first, joined where possible."""
    axes = []
    for d, length in enumerate(views[0].shape):
        strides = tuple(view.strides[d] for view in views)
        if length > 1:
            axes.append(Axis(length, strides))
    axes.sort(key=lambda axis: axis.strides, reverse=True)
    merged: list[Axis] = []
    for axis in axes:
        length = axis.length
        if merged and axis.continues(merged[-1]):
            length *= merged.pop().length
        merged.append(Axis(length, axis.strides))
    return merged


def _place(steps: Sequence[int], offset: int) -> str:
    """The index of an entry, such as `12 * i0 + i1 + 3`."""
    terms = []
    for d, step in enumerate(steps):
        if step:
            terms.append(f"i{d}" if step == 1 else f"{step} * i{d}")
    if offset or not terms:
        terms.append(str(offset))
    return " + ".join(terms)
