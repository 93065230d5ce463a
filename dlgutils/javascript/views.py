"""Where the entries of a tensor lie: an array of the page, and the steps through it.

Transposes, slices and broadcasts are other steps through the same array, as in torch, so they cost
the page nothing. The functions take a view, the shape of the result, and ATen's other arguments.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

Shape = tuple[int, ...]


class View(NamedTuple):
    """A tensor in the page; strides and offset are counted in entries of the array."""

    array: str
    shape: Shape
    strides: Shape
    offset: int = 0

    @property
    def entries(self) -> int:
        """How many entries the tensor has."""
        return math.prod(self.shape)

    @property
    def is_dense(self) -> bool:
        """Whether the entries lie in the array's own order, without gaps, from its start."""
        if self.offset:
            return False
        dense = dense_strides(self.shape)
        axes = zip(self.shape, self.strides, dense, strict=True)
        return all(n == 1 or step == wanted for n, step, wanted in axes)

    @property
    def has_dense_rows(self) -> bool:
        """Whether each row of a matrix lies in memory entry by entry."""
        return self.strides[-1] == 1 or self.shape[-1] == 1


def dense_strides(shape: Sequence[int]) -> Shape:
    """The strides of an array without gaps."""
    axes = range(len(shape))
    return tuple(math.prod(shape[d + 1 :]) for d in axes)


def unchanged(a: View, *_: object) -> View:
    """The same entries, for what is a copy in torch: no array is ever changed."""
    return a


def expand(a: View, shape: Sequence[int], *_: object) -> View:
    """The view broadcast to a shape, as torch does it: a repeated entry is a step of 0."""
    strides = [0] * (len(shape) - len(a.shape))
    for n, step in zip(a.shape, a.strides, strict=True):
        strides.append(0 if n == 1 else step)
    return a._replace(shape=tuple(shape), strides=tuple(strides))


def permute(a: View, shape: Shape, order: Sequence[int]) -> View:
    """The axes in another order: axis d of the result is axis `order[d]` of a."""
    strides = tuple(a.strides[d] for d in order)
    return a._replace(shape=shape, strides=strides)


def swap(a: View, shape: Shape, d: int = 0, e: int = -1) -> View:
    """Two axes exchanged; without axes nothing happens.

    Args:
        a: the view.
        shape: of the result.
        d: one of the axes.
        e: the other one.
    """
    if not shape:
        return a
    order = list(range(len(shape)))
    order[d], order[e] = order[e], order[d]
    return permute(a, shape, order)


def transpose(a: View) -> View:
    """Matrices transposed."""
    *batch, rows, columns = a.shape
    return swap(a, (*batch, columns, rows), -2, -1)


def cut(
    a: View,
    shape: Shape,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> View:
    """Every step-th entry of one axis.

    Args:
        a: the view.
        shape: of the result.
        dim: the axis.
        start: where it begins, from the end if negative; None: at 0.
        end: where it ends, which the shape says already.
        step: how far it is to the next entry.
    """
    start = start or 0
    if start < 0:
        start = max(0, start + a.shape[dim])
    offset = a.offset + start * a.strides[dim]
    strides = list(a.strides)
    strides[dim] *= step
    return View(a.array, shape, tuple(strides), offset)


def select(a: View, shape: Shape, dim: int, index: int) -> View:
    """One entry of an axis, which disappears.

    Args:
        a: the view.
        shape: of the result.
        dim: the axis.
        index: of the entry, from the end if negative.
    """
    index %= a.shape[dim]
    strides = list(a.strides)
    step = strides.pop(dim)
    offset = a.offset + index * step
    return View(a.array, shape, tuple(strides), offset)
