"""What each ATen operation becomes: a formula, a constant, another view, or a new array."""

import operator
from collections.abc import Sequence

import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.fx import Node

from dlgutils.javascript import arrays, views
from dlgutils.javascript.arrays import Operation
from dlgutils.javascript.program import Program
from dlgutils.javascript.views import View

_aten = torch.ops.aten
_IGNORED = {"dtype", "layout", "device", "pin_memory", "memory_format"}
"""Keywords that mean nothing in a page, where every number is a 32-bit float in one memory."""

FORMULAS: dict[object, str] = {
    _aten.add.Tensor: "{0} + {1}",
    _aten.add.Scalar: "{0} + {1}",
    _aten.sub.Tensor: "{0} - {1}",
    _aten.sub.Scalar: "{0} - {1}",
    _aten.rsub.Scalar: "{1} - {0}",
    _aten.mul.Tensor: "{0} * {1}",
    _aten.mul.Scalar: "{0} * {1}",
    _aten.div.Tensor: "{0} / {1}",
    _aten.div.Scalar: "{0} / {1}",
    _aten.neg.default: "-{0}",
    _aten.reciprocal.default: "1 / {0}",
    _aten.abs.default: "Math.abs({0})",
    _aten.sign.default: "Math.sign({0})",
    _aten.round.default: "roundHalfToEven({0})",
    _aten.maximum.default: "Math.max({0}, {1})",
    _aten.minimum.default: "Math.min({0}, {1})",
    _aten.exp.default: "Math.exp({0})",
    _aten.log.default: "Math.log({0})",
    _aten.log1p.default: "Math.log1p({0})",
    _aten.sqrt.default: "Math.sqrt({0})",
    _aten.sigmoid.default: "1 / (1 + Math.exp(-{0}))",
    _aten.tanh.default: "Math.tanh({0})",
    _aten.relu.default: "Math.max(0, {0})",
    _aten.threshold_backward.default: "{1} > {2} ? {0} : 0",
    _aten.gt.Scalar: "Number({0} > {1})",
    _aten.gt.Tensor: "Number({0} > {1})",
    _aten.lt.Scalar: "Number({0} < {1})",
    _aten.lt.Tensor: "Number({0} < {1})",
    _aten.eq.Scalar: "Number({0} === {1})",
    _aten.eq.Tensor: "Number({0} === {1})",
    _aten.ne.Scalar: "Number({0} !== {1})",
    _aten.bitwise_and.Tensor: "{0} && {1}",
    _aten.bitwise_not.default: "Number(!{0})",
    _aten.masked_fill.Scalar: "{1} ? {2} : {0}",
    _aten.where.self: "{0} ? {1} : {2}",
}
"""Of the operands' entries, which are broadcast; true and false are the numbers 1 and 0."""

CONSTANTS: dict[object, float] = {
    _aten.ones_like.default: 1.0,
    _aten.zeros_like.default: 0.0,
}
"""What every entry is."""

VIEWS: dict[object, Operation] = {
    _aten._to_copy.default: views.unchanged,
    _aten.clone.default: views.unchanged,
    _aten.expand.default: views.expand,
    _aten.permute.default: views.permute,
    _aten.select.int: views.select,
    _aten.slice.Tensor: views.cut,
    _aten.t.default: views.swap,
    _aten.transpose.int: views.swap,
}
"""Functions of a view, the shape of the result, and ATen's other arguments."""

ARRAYS: dict[object, Operation] = {
    _aten.view.default: arrays.reshape,
    _aten._unsafe_view.default: arrays.reshape,
    _aten.squeeze.dim: arrays.reshape,
    _aten.unsqueeze.default: arrays.reshape,
    _aten.sum.default: arrays.total,
    _aten.sum.dim_IntList: arrays.total,
    _aten.mean.default: arrays.mean,
    _aten.mean.dim: arrays.mean,
    _aten.mm.default: arrays.product,
    _aten.bmm.default: arrays.product,
    _aten.scalar_tensor.default: arrays.number,
    _aten.clamp.default: arrays.clamp,
    _aten.amax.default: arrays.greatest,
    _aten.topk.default: arrays.largest,
    _aten._softmax.default: arrays.over_last_axis("softmax"),
    _aten._log_softmax.default: arrays.over_last_axis("logSoftmax"),
    _aten.im2col.default: arrays.im2col,
    _aten.col2im.default: arrays.col2im,
}
"""Functions of the program, the shape of the result, and ATen's arguments."""

PAIRS = {_aten.topk.default}
"""Those of them that return values and indices, of which the page has the values."""


def translate_node(node: Node, program: Program, operands: Sequence[object]) -> View:
    """Where the result of an operation lies, once its code has been added to the program.

    operands: what the node takes, views instead of nodes.

    Raises NotImplementedError for an operation that is not in any of the tables.
    """
    operation = node.target
    value = node.meta["val"]
    if operation is operator.getitem:
        return _values(node, operands)
    shape = tuple((value[0] if operation in PAIRS else value).shape)
    _check_keywords(node)
    if operation in FORMULAS:
        return program.elementwise(FORMULAS[operation], shape, *operands)
    if operation in CONSTANTS:
        return program.elementwise("{0}", shape, CONSTANTS[operation])
    if operation in VIEWS:
        view, *arguments = operands
        return VIEWS[operation](view, shape, *arguments)
    if operation in ARRAYS:
        return ARRAYS[operation](program, shape, *operands)
    known = sorted(map(str, [*FORMULAS, *CONSTANTS, *VIEWS, *ARRAYS]))
    raise NotImplementedError(
        f"{operation} has no translation to JavaScript; add one to dlgutils.javascript.operations, "
        f"or write the function with other operations. There are: {', '.join(known)}"
    )


def _values(node: Node, operands: Sequence[object]) -> View:
    """The first of a pair, such as the largest numbers, and not where they were found."""
    pair, place = operands
    if place:
        raise NotImplementedError(
            f"of {node.args[0].target} only the values have a translation to JavaScript, not the "
            "indices; write the function without them"
        )
    return pair


def _check_keywords(node: Node) -> None:
    keywords = sorted(node.kwargs.keys() - _IGNORED)
    if keywords:
        raise NotImplementedError(
            f"{node.target} has no translation to JavaScript with {', '.join(keywords)}; "
            "write the function without"
        )


def _power(a: Tensor, exponent: float) -> Tensor:
    """Squares as products: a power of floats is many times slower in a page."""
    if exponent == 0:
        return torch.ones_like(a)
    if exponent == 1:
        return a.clone()
    if exponent == 2:
        return a * a
    return NotImplemented


DECOMPOSITIONS = {
    **get_decompositions(
        [
            _aten.addmm,
            _aten.sigmoid_backward,
            _aten.tanh_backward,
            _aten.softplus,
            _aten.softplus_backward,
            _aten._log_softmax_backward_data,
            _aten._softmax_backward_data,
            _aten.slice_backward,
            _aten.detach,
            _aten.mse_loss,
            _aten.mse_loss_backward,
        ]
    ),
    _aten.pow.Tensor_Scalar: _power,
}
"""What is written as several of the operations above."""
