"""One forward pass with given weights, of which derivatives of derivatives can be taken.

PyTorch has no derivative of the derivative of some functions: of `hardsigmoid`, of fused attention
and of cuDNN's recurrent layers. Others are not known to `vmap`. Within `twice_differentiable` each
of them is computed in another way, with the same values and the same derivative, wherever a model
calls it: in a layer, or as a function in its `forward`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from dlgutils.types import Tensors

_RNNS = (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu)


def forward(model: nn.Module, tensors: Tensors, x: Tensor) -> Tensor:
    """What the model returns for x with these weights and masks, to be differentiated twice.

    tensors: {name: tensor}; what they do not have is the model's own. x: (batch, channels, height,
    width). Works under `vmap` and `grad`. Raises what the model raises.
    """
    with twice_differentiable():
        return functional_call(model, dict(tensors), (x,))


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Within, what a model computes can be differentiated twice; only forward passes matter."""
    with _math_attention(), _Twins():
        yield


def hardsigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    """`torch.nn.functional.hardsigmoid`, (x + 3) / 6 cut off at 0 and 1: any shape."""
    y = functional.relu6(x + 3) / 6
    return x.copy_(y) if inplace else y


def rrelu(
    x: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """`torch.nn.functional.rrelu` in eval mode: leaky ReLU with the mean slope.

    Args:
        x: of any shape.
        lower: the smallest slope below zero.
        upper: the largest.
        training: true: slopes are drawn, as PyTorch does.
        inplace: whether x is changed.
    """
    if training:
        return functional.rrelu(x, lower, upper, True, inplace)
    return functional.leaky_relu(x, (lower + upper) / 2, inplace)


TWINS: dict[Callable, Callable] = {
    functional.hardsigmoid: hardsigmoid,
    functional.rrelu: rrelu,
}
"""Functions that cannot be differentiated twice for many runs at once, and what stands for them."""


class _Twins(TorchFunctionMode):
    """Calls the twin of a function instead of it, wherever a model calls it."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in _RNNS:
            with torch.backends.cudnn.flags(enabled=False):
                return function(*args, **(kwargs or {}))
        return TWINS.get(function, function)(*args, **(kwargs or {}))


def _math_attention() -> object:
    """Attention in plain operations: the fused kernels have no second derivative."""
    try:
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError:  # torch 2.2
        return torch.backends.cuda.sdp_kernel(enable_flash=False, enable_mem_efficient=False)
    return sdpa_kernel(SDPBackend.MATH)
