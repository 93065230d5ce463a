"""Operations that fill a new array: sums, products of matrices, softmax, patches of images.

Each takes the program, the shape of the result, and ATen's arguments.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import torch

from dlgutils.javascript.program import Program
from dlgutils.javascript.views import Shape, View, dense_strides, transpose

Operation = Callable[..., View]
Dims = Sequence[int] | None


def reshape(program: Program, shape: Shape, a: View, *_: object) -> View:
    """The same entries in another shape: a view if the strides allow it, else a copy."""
    entries = torch.empty_strided(a.shape, a.strides, device="meta")
    try:
        strides = entries.view(shape).stride()
    except RuntimeError:
        a = program.dense(a)
        strides = dense_strides(shape)
    return a._replace(shape=shape, strides=strides)


def total(program: Program, shape: Shape, a: View, dims: Dims = None, *_: object) -> View:
    """Sums over some axes.

    Args:
        program: the function that is being written.
        shape: of the result.
        a: what is summed.
        dims: the axes; None or none: all of them.
    """
    axes = range(len(a.shape))
    if dims:
        axes = [axes[d] for d in dims]
    return program.total(a, axes, shape)


def mean(program: Program, shape: Shape, a: View, dims: Dims = None, *_: object) -> View:
    """Means over some axes; the arguments are those of `total`."""
    sums = total(program, shape, a, dims)
    terms = a.entries // max(1, sums.entries)
    return program.elementwise("{0} / {1}", shape, sums, terms)


def number(program: Program, shape: Shape, a: float) -> View:
    """A number as a tensor without axes."""
    return program.elementwise("{0}", shape, a)


def clamp(program: Program, shape: Shape, a: View, *bounds: float | None) -> View:
    """The entries, between the bounds: the lower one, then the upper one; None: there is none."""
    for formula, bound in zip(("Math.max({0}, {1})", "Math.min({0}, {1})"), bounds, strict=False):
        if bound is not None:
            a = program.elementwise(formula, shape, a, bound)
    return a


def greatest(program: Program, shape: Shape, a: View, *dims: Dims | bool) -> View:
    """The largest entry of all; NotImplementedError for those along some axes."""
    if any(dims):
        raise NotImplementedError(
            f"amax is translated over all dimensions only, got {dims}; write amax(), or topk"
        )
    return _descending(program, shape, a)


def largest(program: Program, shape: Shape, a: View, _: int, *how: int | bool) -> View:
    """The largest entries of a vector, in descending order, as many as the shape has.

    NotImplementedError for the largest of several rows, and for the smallest ones.
    """
    if len(shape) != 1 or any(how):
        raise NotImplementedError(
            f"topk is translated for the largest of one dimension, got {len(shape)} dimensions and "
            f"the settings {how}; flatten first, and pass the count alone"
        )
    return _descending(program, shape, a)


def _descending(program: Program, shape: Shape, a: View) -> View:
    out = program.array(shape)
    program.call("largest", out, program.dense(a))
    return out


def product(program: Program, shape: Shape, a: View, b: View) -> View:
    """The product of two matrices, or of each pair of two batches of matrices.

    The kernel wants the rows of b without gaps. Where they have some it computes (bᵀ aᵀ)ᵀ, if the
    columns of a have none, and otherwise copies the smaller of the two matrices.

    Args:
        program: the function that is being written.
        shape: of the result.
        a: (..., rows, inner), the left factor.
        b: (..., inner, columns), the right factor.
    """
    if b.has_dense_rows:
        return _multiply(program, shape, a, b)
    right = transpose(a)
    if not right.has_dense_rows:
        if b.entries < a.entries:
            return _multiply(program, shape, a, program.dense(b))
        right = program.dense(right)
    *batch, rows, columns = shape
    turned = _multiply(program, (*batch, columns, rows), transpose(b), right)
    return transpose(turned)


def _multiply(program: Program, shape: Shape, a: View, b: View) -> View:
    """The product where the rows of b have no gaps: one call of the kernel for each pair."""
    out = program.array(shape)
    *batch, rows, columns = shape
    size = (rows, a.shape[-1], columns)
    for place in itertools.product(*map(range, batch)):
        target = (out, _offset(out, place))
        left = (a, _offset(a, place), *a.strides[-2:])
        right = (b, _offset(b, place), b.strides[-2])
        program.call("product", *target, *left, *right, *size)
    return out


def _offset(matrices: View, place: Sequence[int]) -> int:
    """Where the matrix at this place of a batch begins."""
    offset = matrices.offset
    for k, step in zip(place, matrices.strides, strict=False):  # two more, those of the matrix
        offset += k * step
    return offset


def over_last_axis(kernel: str) -> Operation:
    """An operation along the last axis, such as "softmax"; NotImplementedError along another."""

    def operation(program: Program, shape: Shape, a: View, dim: int, *_: object) -> View:
        *rows, length = shape
        if dim not in (-1, len(rows)):
            raise NotImplementedError(
                f"{kernel} is translated over the last dimension only, got {dim} of {len(shape)}; "
                "transpose first"
            )
        a = program.dense(a)
        out = program.array(shape)
        program.call(kernel, out, a, math.prod(rows), length)
        return out

    return operation


def im2col(program: Program, shape: Shape, a: View, *geometry: Sequence[int]) -> View:
    """The patches of images as the columns of a matrix.

    geometry: size, dilation, padding and stride, each as (height, width).
    """
    a = program.dense(a)
    out = program.array(shape)
    program.call("im2col", out, a, _patches(program, a.shape, geometry))
    return out


def col2im(program: Program, shape: Shape, a: View, _: object, *geometry: Sequence[int]) -> View:
    """Images as the sums of their patches, which are the columns of a matrix; see `im2col`."""
    a = program.dense(a)
    out = program.array(shape)
    program.call("col2im", out, a, _patches(program, shape, geometry))
    return out


def _patches(program: Program, images: Shape, geometry: Sequence[Sequence[int]]) -> str:
    """The name of the constant that says where the patches of images of this shape lie."""
    *planes, height, width = images
    numbers = [math.prod(planes), height, width, *itertools.chain(*geometry)]
    arguments = ", ".join(map(str, numbers))
    return program.script.constant(f"patches({arguments})")
