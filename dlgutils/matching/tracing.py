"""A function of tensors as the list of operations that it did: run again faster, or translated (see `javascript`)."""

from collections.abc import Callable, Mapping

import torch
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.functional import unfold
from torch.overrides import TorchFunctionMode


def traced(function: Callable, *args: object, decompositions: Mapping | None = None) -> GraphModule:
    """The same operations without the Python that led to them, and convolutions as the products that they are.

    args: what the function is traced with, tensors in tuples and mappings as deep as you like;
    the graph takes tensors of the same shapes. decompositions: what to write in place of an
    operation, as in `torch._decomp.get_decompositions`.
    """
    with _Unfolded():
        graph = make_fx(
            lambda *args: function(*args), decomposition_table=dict(decompositions or {})
        )(*args)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


class _Unfolded(TorchFunctionMode):
    """Convolutions as products with unfolded images: each run has weights of its own, for which they are faster."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if (
            function is not torch.conv2d
            or kwargs
            or len(args) < 7
            or args[6] != 1
            or isinstance(args[4], str)
        ):
            return function(*args, **(kwargs or {}))
        x, weight, bias, stride, padding, dilation, _ = args
        size = weight.shape[-2:]
        patches = unfold(x, size, dilation, padding, stride)
        height = (x.shape[-2] + 2 * padding[0] - dilation[0] * (size[0] - 1) - 1) // stride[0] + 1
        z = (weight.flatten(1) @ patches).unflatten(-1, (height, -1))
        return z if bias is None else z + bias[:, None, None]
