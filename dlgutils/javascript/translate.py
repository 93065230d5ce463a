"""PyTorch functions as JavaScript, operation by operation, so that a page can run them and nobody derives anything twice.

A function is traced once, and its graph becomes a list of calls: loops over typed arrays, each distinct one written once,
and the kernels of static/kernels.js. The arrays of a function lie in one memory, in which WebAssembly does the matrix products
if the page may run it. Views (transposes, slices, broadcasts) are strides, as in torch, and cost nothing.
"""

import base64
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.fx import GraphModule, Node

from dlgutils.matching.tracing import traced
from dlgutils.types import Tensors

_aten = torch.ops.aten
_WHERE_AND_HOW = {
    "dtype",
    "layout",
    "device",
    "pin_memory",
    "memory_format",
}  # everything is a float of the page
_WEB = Path(__file__).parent / "static"


def compile(functions: Mapping[str, tuple[Callable[[Tensors], Tensors], Tensors]]) -> str:
    """JavaScript source of an object `generated` with one maker for each function, and of the kernels that they use.

    functions: by name, each a function of named tensors to named tensors, and an example of its argument, float32, which
    fixes all shapes. In the page, `const run = generated.name(); run({x: new Float32Array(…), …})` returns an object of
    `Float32Array`s, which the next call overwrites; they are parts of one large memory, so post a copy (`slice`) of them.
    Raises NotImplementedError for a function that does what this translator has no words for; it names the operation.
    """
    shared = _Shared({}, {})
    makers = [
        f"{name}() {{\n{_maker(*function, shared)}}}," for name, function in functions.items()
    ]
    lines = [
        f'const productModule = "{_base64((_WEB / "product.wasm").read_bytes())}";',
        (_WEB / "kernels.js").read_text(encoding="utf-8"),
        *(f"const {name} = {constant};" for constant, name in shared.constants.items()),
        *(f"function {name}(o, a, b) {{ {loop} }}" for loop, name in shared.loops.items()),
    ]
    return "\n".join([*lines, "const generated = {", *makers, "};", ""])


class _Shared(NamedTuple):
    """What the functions of a module have in common, each with its name."""

    constants: dict[str, str]
    loops: dict[str, str]

    def constant(self, code: str) -> str:
        return self.constants.setdefault(code, f"constant{len(self.constants)}")

    def loop(self, code: str) -> str:
        return self.loops.setdefault(code, f"loop{len(self.loops)}")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


class _View(NamedTuple):
    """Where a tensor lies: an array of the page, and the steps through it."""

    array: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def contiguous(self) -> bool:
        return self.offset == 0 and all(
            n == 1 or s == dense
            for n, s, dense in zip(self.shape, self.strides, _dense(self.shape), strict=True)
        )


class _Program:
    """The code of one function while it is written: arrays by size, what to do once, and what to do at each call."""

    def __init__(self, shared: _Shared) -> None:
        self.shared = shared
        self.arrays: dict[str, int] = {}
        self.once: list[str] = []
        self.calls: list[str] = []

    def array(self, shape: Sequence[int]) -> _View:
        name = f"t{len(self.arrays)}"
        self.arrays[name] = math.prod(shape)
        return _View(name, tuple(shape), _dense(shape))

    def constant(self, tensor: Tensor) -> _View:
        out = self.array(tensor.shape)
        content = _base64(tensor.detach().float().contiguous().numpy().astype("<f4").tobytes())
        constant = self.shared.constant(f'decoded("{content}")')
        self.once.append(f"{out.array}.set({constant});")
        return out

    def patches(self, images: Sequence[int], *geometry: Sequence[int]) -> str:
        """Where the patches of images of this shape lie; geometry: size, dilation, padding, stride, (height, width) each."""
        numbers = [math.prod(images[:-2]), *images[-2:], *itertools.chain(*geometry)]
        return self.shared.constant(f"patches({', '.join(map(str, numbers))})")

    def dense(self, view: _View) -> _View:
        """The same numbers without gaps, in the array's own order."""
        return view if view.contiguous else self.filled(self.array(view.shape), "{0}", view)

    def elementwise(self, formula: str, shape: Sequence[int], *operands: "_View | float") -> _View:
        """A new array of `formula` of the operands' entries, which are broadcast; it lies in memory as they do."""
        views = [_expanded(v, shape) for v in operands if isinstance(v, _View)]
        order = sorted(
            range(len(shape)), key=lambda d: -max((v.strides[d] for v in views), default=0)
        )
        places = [order.index(d) for d in range(len(shape))]
        return self.filled(
            _permuted(tuple(shape), self.array([shape[d] for d in order]), places),
            formula,
            *operands,
        )

    def filled(self, out: _View, formula: str, *operands: "_View | float") -> _View:
        """An array, filled with `formula` of the operands' entries."""
        views = [_expanded(v, out.shape) for v in operands if isinstance(v, _View)]
        loops, (target, *entries) = _nest([out, *views])
        remaining = iter(entries)
        terms = [next(remaining) if isinstance(v, _View) else _number(v) for v in operands]
        self.loop(f"{''.join(loops.values())}{target} = {formula.format(*terms)};", out, *views)
        return out

    def total(self, view: _View, dims: Sequence[int], shape: Sequence[int]) -> _View:
        """A new array of the sums over `dims`."""
        out = self.array(shape)
        kept = [d for d in range(len(view.shape)) if d not in dims]
        strides = dict(zip(kept, _dense([view.shape[d] for d in kept]), strict=True))
        spread = _View(
            out.array, view.shape, tuple(strides.get(d, 0) for d in range(len(view.shape)))
        )
        loops, (target, entry) = _nest([spread, view])
        outer = "".join(head for i, head in loops.items() if i in target)
        inner = "".join(head for i, head in loops.items() if i not in target)
        self.loop(f"{outer}{{ let sum = 0; {inner}sum += {entry}; {target} = sum; }}", out, view)
        return out

    def loop(self, code: str, *views: _View) -> None:
        """Call a loop, in which the arrays of the views are o, a and b."""
        self.calls.append(f"{self.shared.loop(code)}({', '.join(v.array for v in views)});")

    def call(self, function: str, shape: Sequence[int], *arguments: object) -> _View:
        """A new array filled by one of the kernels."""
        out = self.array(shape)
        words = [a.array if isinstance(a, _View) else str(a) for a in (out, *arguments)]
        self.calls.append(f"{function}({', '.join(words)});")
        return out


def _maker(function: Callable[[Tensors], Tensors], example: Tensors, shared: _Shared) -> str:
    names: list[str] = []

    def flat(*tensors: Tensor) -> list[Tensor]:
        result = function(dict(zip(example, tensors, strict=True)))
        names.extend(result)
        return list(result.values())

    graph = traced(flat, *example.values(), decompositions=_DECOMPOSITIONS)
    program = _Program(shared)
    outputs = _translate(graph, program, list(example))
    lines = [
        f"const {{ arrays, product }} = machine([{', '.join(map(str, program.arrays.values()))}]);",
        f"const [{', '.join(program.arrays)}] = arrays;",
        *program.once,
        "return (inputs) => {",
        *program.calls,
        "return { "
        + ", ".join(f'"{name}": {view.array}' for name, view in zip(names, outputs, strict=True))
        + " };",
        "};",
    ]
    return "".join(f"{line}\n" for line in lines)


def _translate(graph: GraphModule, program: _Program, inputs: list[str]) -> list[_View]:
    """Write the graph into the program, each operation on the same operands once; returns where its outputs lie."""
    views: dict[Node, _View] = {}
    done: dict[tuple[object, str], _View] = {}
    remaining = iter(inputs)
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            views[node] = program.array(node.meta["val"].shape)
            program.calls.append(f'{views[node].array}.set(inputs["{next(remaining)}"]);')
        elif node.op == "get_attr":
            views[node] = program.constant(getattr(graph, node.target))
        elif node.op == "call_function":
            operands = [views[a] if isinstance(a, Node) else a for a in node.args]
            if node.target not in _OPERATIONS or node.kwargs.keys() - _WHERE_AND_HOW:
                raise NotImplementedError(
                    f"{node.target} has no translation to JavaScript; add one to dlgutils.javascript, or write the function "
                    f"with other operations. There are: {', '.join(sorted(map(str, _OPERATIONS)))}"
                )
            same = node.target, repr(operands)
            if same not in done:
                done[same] = _OPERATIONS[node.target](
                    program, tuple(node.meta["val"].shape), *operands
                )
            views[node] = done[same]
        else:
            return [program.dense(views[a]) for a in node.args[0]]
    raise AssertionError("a graph ends with its output")


# Where entries lie ------------------------------------------------------------------------------------------------


def _dense(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of an array without gaps."""
    return tuple(math.prod(shape[d + 1 :]) for d in range(len(shape)))


def _expanded(view: _View, shape: Sequence[int]) -> _View:
    """The view broadcast to a shape, as torch does it."""
    missing = len(shape) - len(view.shape)
    own = [0 if n == 1 else s for n, s in zip(view.shape, view.strides, strict=True)]
    return view._replace(shape=tuple(shape), strides=(0,) * missing + tuple(own))


def _nest(views: Sequence[_View]) -> tuple[dict[str, str], list[str]]:
    """Loops over the shape of all views, by their variable, as few as strides allow, and the entry of each view inside them.

    The views are o, a and b; the loops go through o as it lies in memory.
    """
    shape, *_ = (v.shape for v in views)
    axes = [(n, [v.strides[d] for v in views]) for d, n in enumerate(shape) if n > 1]
    axes.sort(key=lambda axis: axis[1], reverse=True)
    merged: list[tuple[int, list[int]]] = []
    for n, strides in axes:
        if merged and all(
            outer == inner * n for outer, inner in zip(merged[-1][1], strides, strict=True)
        ):
            merged[-1] = (merged[-1][0] * n, strides)
        else:
            merged.append((n, strides))
    loops = {f"i{d}": f"for (let i{d} = 0; i{d} < {n}; i{d}++) " for d, (n, _) in enumerate(merged)}
    steps = [
        [f"i{d}" if s[k] == 1 else f"{s[k]} * i{d}" for d, (_, s) in enumerate(merged) if s[k]]
        for k in range(len(views))
    ]
    places = [
        " + ".join([*terms, *([str(v.offset)] if v.offset or not terms else [])])
        for terms, v in zip(steps, views, strict=True)
    ]
    return loops, [f"{name}[{place}]" for name, place in zip("oab", places, strict=False)]


def _number(value: float) -> str:
    return f"({value!r})"


# What each operation becomes --------------------------------------------------------------------------------------


def _elementwise(formula: str) -> Callable[..., _View]:
    return lambda program, shape, *operands: program.elementwise(formula, shape, *operands)


def _view(program: _Program, shape: tuple[int, ...], a: _View, *_: object) -> _View:
    """Another shape for the same entries: new strides if the old ones allow it, which torch knows, else a copy."""
    try:
        return a._replace(
            shape=shape,
            strides=torch.empty_strided(a.shape, a.strides, device="meta").view(shape).stride(),
        )
    except RuntimeError:
        return program.dense(a)._replace(shape=shape, strides=_dense(shape))


def _permuted(shape: tuple[int, ...], a: _View, order: Sequence[int]) -> _View:
    return a._replace(shape=shape, strides=tuple(a.strides[d] for d in order))


def _swapped(_: _Program, shape: tuple[int, ...], a: _View, d: int = 0, e: int = -1) -> _View:
    order = list(range(len(shape)))
    if order:
        order[d], order[e] = order[e], order[d]
    return _permuted(shape, a, order)


def _slice(
    _: _Program,
    shape: tuple[int, ...],
    a: _View,
    dim: int = 0,
    start: int | None = None,
    *rest: int | None,
) -> _View:
    step = rest[1] if len(rest) > 1 else 1
    start = (start or 0) + (a.shape[dim] if (start or 0) < 0 else 0)
    strides = tuple(s * step if d == dim % len(shape) else s for d, s in enumerate(a.strides))
    return _View(a.array, shape, strides, a.offset + start * a.strides[dim])


def _select(_: _Program, shape: tuple[int, ...], a: _View, dim: int, index: int) -> _View:
    dim %= len(a.shape)
    strides = tuple(s for d, s in enumerate(a.strides) if d != dim)
    return _View(a.array, shape, strides, a.offset + index % a.shape[dim] * a.strides[dim])


def _sum(
    program: _Program,
    shape: tuple[int, ...],
    a: _View,
    dims: Sequence[int] | None = None,
    *_: object,
) -> _View:
    dims = range(len(a.shape)) if not dims else [d % len(a.shape) for d in dims]
    return program.total(a, list(dims), shape)


def _mean(
    program: _Program,
    shape: tuple[int, ...],
    a: _View,
    dims: Sequence[int] | None = None,
    *_: object,
) -> _View:
    total = _sum(program, shape, a, dims)
    return program.elementwise(
        "{0} / {1}", shape, total, math.prod(a.shape) // max(1, math.prod(shape))
    )


def _product(program: _Program, shape: tuple[int, ...], a: _View, b: _View) -> _View:
    """The kernel wants the rows of b without gaps: where they have some, (bᵀ aᵀ)ᵀ, or else a copy of the smaller matrix."""
    if not _gapless(b) and not _gapless(_turned(a)) and math.prod(b.shape) < math.prod(a.shape):
        b = program.dense(b)
    if not _gapless(b):
        turned = _turned(a) if _gapless(_turned(a)) else program.dense(_turned(a))
        return _turned(_product(program, (*shape[:-2], shape[-1], shape[-2]), _turned(b), turned))
    out = program.array(shape)
    for places in itertools.product(*map(range, shape[:-2])):
        o0, a0, b0 = (
            v.offset + sum(k * s for k, s in zip(places, v.strides, strict=False))
            for v in (out, a, b)
        )
        words = [
            out.array,
            o0,
            a.array,
            a0,
            *a.strides[-2:],
            b.array,
            b0,
            b.strides[-2],
            shape[-2],
            a.shape[-1],
            shape[-1],
        ]
        program.calls.append(f"product({', '.join(map(str, words))});")
    return out


def _gapless(matrix: _View) -> bool:
    """Do the rows lie in memory entry by entry?"""
    return matrix.strides[-1] == 1 or matrix.shape[-1] == 1


def _turned(a: _View) -> _View:
    return a._replace(
        shape=(*a.shape[:-2], *a.shape[:-3:-1]), strides=(*a.strides[:-2], *a.strides[:-3:-1])
    )


def _softmax(name: str) -> Callable[..., _View]:
    def operation(
        program: _Program, shape: tuple[int, ...], a: _View, dim: int, *_: object
    ) -> _View:
        if dim % len(shape) != len(shape) - 1:
            raise NotImplementedError(
                f"aten.{name} is translated over the last dimension only, got {dim} of {len(shape)}"
            )
        return program.call(name, shape, program.dense(a), math.prod(shape[:-1]), shape[-1])

    return operation


def _im2col(program: _Program, shape: tuple[int, ...], a: _View, *geometry: list[int]) -> _View:
    return program.call("im2col", shape, program.dense(a), program.patches(a.shape, *geometry))


def _col2im(
    program: _Program, shape: tuple[int, ...], a: _View, _: list[int], *geometry: list[int]
) -> _View:
    return program.call("col2im", shape, program.dense(a), program.patches(shape, *geometry))


def _filled(value: float) -> Callable[..., _View]:
    return lambda program, shape, *_: program.elementwise("{0}", shape, value)


def _same(_: _Program, shape: tuple[int, ...], a: _View, *__: object) -> _View:
    return a._replace(shape=shape)


_OPERATIONS: dict[object, Callable[..., _View]] = {
    _aten.add.Tensor: _elementwise("{0} + {1}"),
    _aten.add.Scalar: _elementwise("{0} + {1}"),
    _aten.sub.Tensor: _elementwise("{0} - {1}"),
    _aten.sub.Scalar: _elementwise("{0} - {1}"),
    _aten.rsub.Scalar: _elementwise("{1} - {0}"),
    _aten.mul.Tensor: _elementwise("{0} * {1}"),
    _aten.mul.Scalar: _elementwise("{0} * {1}"),
    _aten.div.Tensor: _elementwise("{0} / {1}"),
    _aten.div.Scalar: _elementwise("{0} / {1}"),
    _aten.neg.default: _elementwise("-{0}"),
    _aten.exp.default: _elementwise("Math.exp({0})"),
    _aten.log.default: _elementwise("Math.log({0})"),
    _aten.sqrt.default: _elementwise("Math.sqrt({0})"),
    _aten.sigmoid.default: _elementwise("1 / (1 + Math.exp(-{0}))"),
    _aten.tanh.default: _elementwise("Math.tanh({0})"),
    _aten.ones_like.default: _filled(1.0),
    _aten.zeros_like.default: _filled(0.0),
    _aten.sum.default: _sum,
    _aten.sum.dim_IntList: _sum,
    _aten.mean.default: _mean,
    _aten.mean.dim: _mean,
    _aten.mm.default: _product,
    _aten.bmm.default: _product,
    _aten._softmax.default: _softmax("softmax"),
    _aten._log_softmax.default: _softmax("logSoftmax"),
    _aten.im2col.default: _im2col,
    _aten.col2im.default: _col2im,
    _aten.view.default: _view,
    _aten._unsafe_view.default: _view,
    _aten.clone.default: _same,
    _aten.unsqueeze.default: lambda program, shape, a, dim: _view(program, shape, a),
    _aten.squeeze.dim: lambda program, shape, a, dim: _view(program, shape, a),
    _aten.t.default: _swapped,
    _aten.transpose.int: _swapped,
    _aten.permute.default: lambda _, shape, a, order: _permuted(shape, a, order),
    _aten.slice.Tensor: _slice,
    _aten.select.int: _select,
    _aten.expand.default: lambda _, shape, a, *__: _expanded(a, shape),
}


def _power(a: Tensor, exponent: float) -> Tensor:
    """Squares as products: a power of floats is many times slower in a page."""
    return {1: lambda: a.clone(), 2: lambda: a * a}.get(exponent, lambda: NotImplemented)()


_DECOMPOSITIONS = get_decompositions(
    [
        _aten.addmm,
        _aten.sigmoid_backward,
        _aten.tanh_backward,
        _aten._log_softmax_backward_data,
        _aten._softmax_backward_data,
        _aten.slice_backward,
        _aten.detach,
    ]
) | {_aten.pow.Tensor_Scalar: _power}
