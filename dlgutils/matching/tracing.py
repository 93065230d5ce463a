"""A function of tensors as the list of its operations: to run it faster, or to translate it."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch._guards import TracingContext, tracing
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.functional import unfold
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


def traced(function: Callable, *args: object, decompositions: Mapping | None = None) -> GraphModule:
    """The same operations as a graph, without the Python that led to them; call it like `function`.

    Convolutions become products with unfolded images. What Python decides on the way is decided
    once, for these arguments, so the graph takes tensors of the same shapes only.

    args: what the function is traced with, tensors in tuples and mappings as deep as you like.
    decompositions: by operation, the function that replaces it, as
    `torch._decomp.get_decompositions` returns them.
    """

    def anonymous(*args: object) -> object:  # make_fx would count the self of a method under vmap
        return function(*args)

    trace = make_fx(anonymous, decomposition_table=dict(decompositions or {}))
    with _Unfolded(), tracing(TracingContext(_Sizes())):
        graph = trace(*args)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


class _Sizes(TorchDispatchMode):
    """The sizes that a graph notes of every value: as tensors without numbers, which are quick.

    In the place of PyTorch's own mode, whose fake tensors take a third of the time of a trace.
    """

    shape_env = None  # no size is unknown

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return operation(*args, **{**(kwargs or {}), "device": "meta"})


class _Unfolded(TorchFunctionMode):
    """Convolutions as products: each run has its own weights, and then products are faster."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.conv2d and not kwargs and self.applies(args):
            return self.convolve(*args[:6])
        return function(*args, **(kwargs or {}))

    @staticmethod
    def applies(args: tuple) -> bool:
        """Whether these are all seven arguments of conv2d, padding in numbers, one group."""
        if len(args) < 7:
            return False
        padding = args[4]
        groups = args[6]
        return groups == 1 and not isinstance(padding, str)

    @staticmethod
    def convolve(
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
    ) -> Tensor:
        """conv2d with these arguments as one product of the weight and the patches of x."""
        kernel = weight.shape[-2:]
        patches = unfold(x, kernel, dilation, padding, stride).squeeze(0)  # one image: no batch
        reach = dilation[0] * (kernel[0] - 1)
        free = x.shape[-2] + 2 * padding[0] - reach - 1
        height = free // stride[0] + 1
        z = weight.flatten(1) @ patches
        z = z if bias is None else z + bias[:, None]
        return z.view(len(x), len(weight), height, -1)
