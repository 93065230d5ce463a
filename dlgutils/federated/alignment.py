"""Where a round meets a model: under which names, in which order, and in which numbers."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from dlgutils import models
from dlgutils.federated.checks import check_kinds
from dlgutils.federated.model_checks import check_model
from dlgutils.types import Shared, Tensors


def align(model: nn.Module, *rounds: Shared) -> tuple[nn.Module, list[Shared]]:
    """The model without its wrappers, and the rounds with the names of this model's parameters.

    Names are matched where only the prefixes of wrappers differ (`models.renamed`); others stay, so
    that `checks.check` can name them. Weights are in the order of `classifier_last`. A gradient of
    fewer digits than the weights, as an upload in float16 or bfloat16 is, gets their dtype;
    `Shared.precision` still says how it was rounded, as it does where others widened it.

    Raises ValueError unless the rounds are of the right kinds (`checks.check_kinds`).
    """
    check_kinds(*rounds)
    model = models.unwrapped(model)
    names = [name for name, _ in model.named_parameters()]
    renamed = [_renamed(shared, names) for shared in rounds]
    shapes = {tuple(shared.x_shape) for shared in renamed}
    orders = {shape: _order(model, shape) for shape in shapes}
    return model, [_widened(_ordered(each, orders[tuple(each.x_shape)])) for each in renamed]


def classifier_last(model: nn.Module, x_shape: tuple[int, ...]) -> list[str]:
    """The names of all parameters, in the model's order, but for those that make the logits: last.

    `Shared.last_layer` takes the last ones for the classifier. A model may define it before its
    body, or other layers after it. The classifier is the layer whose output the model returns; if a
    function follows it, the last one with an output of that shape. Where several do, it is the one
    that is defined last.

    x_shape: (batch, channels, height, width). Raises what the model raises.
    """
    names = [name for name, _ in model.named_parameters()]
    defined_last = _owner(names[-1])
    found = _layers_of_logits(model, x_shape)
    last = defined_last if defined_last in found or not found else found[-1]
    own = sorted((name for name in names if _owner(name) == last), key=_is_bias)
    return [name for name in names if name not in own] + own


def _layers_of_logits(model: nn.Module, x_shape: tuple[int, ...]) -> list[str]:
    """The layers with parameters that return what the model does, or at least its shape."""
    images = x_shape[0] if models.mixing_layers(model) else 1
    shape = (images, *x_shape[1:])
    like = next(model.parameters())  # of zeros, all outputs may be zero
    ramp = torch.linspace(0, 1, math.prod(shape)).to(like).reshape(shape)
    calls, output = models.observe(model, ramp)
    alike = []
    for call in calls:
        learns = next(call.module.parameters(), None) is not None
        if learns and isinstance(call.output, Tensor) and call.output.shape == output.shape:
            alike.append(call)
    returned = [call for call in alike if call.output.equal(output)]
    return [call.name for call in returned or alike]


def _owner(name: str) -> str:
    """The layer of a parameter, also of one that `torch.nn.utils.parametrizations` took apart."""
    own, parametrised, _ = name.partition(".parametrizations.")
    return own if parametrised else name.rpartition(".")[0]


def _is_bias(name: str) -> bool:
    return name.endswith("bias")


# What is wrong with a model or its images is said by `checks.check`, which comes after this.
def _order(model: nn.Module, x_shape: tuple[int, ...]) -> list[str]:
    """The order of `classifier_last`; that of the model, where it takes no such images."""
    like = next(model.parameters(), None)
    if like is None:
        return []
    try:
        check_model(model)
        devices = [like.device] if like.is_cuda else []
        with torch.random.fork_rng(devices=devices), models.kept_buffers(model):
            return classifier_last(model, x_shape)
    except Exception:
        return [name for name, _ in model.named_parameters()]


def _ordered(shared: Shared, order: list[str]) -> Shared:
    """The round with its weights in this order, if it has the same names."""
    if list(shared.weights) == order or shared.weights.keys() != set(order):
        return shared
    return replace(shared, weights={name: shared.weights[name] for name in order})


def _renamed(shared: Shared, names: list[str]) -> Shared:
    weights = models.renamed(shared.weights, names)
    gradient = models.renamed(shared.gradient, names)
    if weights is shared.weights and gradient is shared.gradient:
        return shared
    return replace(shared, weights=weights, gradient=gradient)


def as_rounded(shared: Shared) -> Shared:
    """The round with the dtype to which its gradient was rounded, if others then widened it.

    All numbers of a gradient that was sent in float16 are numbers of float16 still, whatever dtype
    a file or a framework gave them afterwards; of one that was not, some are others. A whole round
    of float32 in float64 is one of float32 again, as its client computed in that.
    """
    if shared.sent_as is not None or not shared.like.is_floating_point():
        return shared
    own = torch.finfo(shared.like.dtype).eps
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        if torch.finfo(dtype).eps > own and _fit(shared.gradient, dtype):
            if dtype == torch.float32 and _fit(shared.weights, dtype):
                return replace(
                    shared, weights=_single(shared.weights), gradient=_single(shared.gradient)
                )
            return replace(shared, sent_as=dtype)
    return shared


def _fit(tensors: Tensors, dtype: torch.dtype) -> bool:
    """Whether all numbers are numbers of this dtype."""
    return all(tensor.equal(tensor.to(dtype).to(tensor.dtype)) for tensor in tensors.values())


def _single(tensors: Tensors) -> Tensors:
    return {name: tensor.float() for name, tensor in tensors.items()}


def _widened(shared: Shared) -> Shared:
    """The round with its gradient in the dtype of the weights, if that has more digits."""
    wide, narrow = _dtype(shared.weights), _dtype(shared.gradient)
    if wide is None or narrow is None or torch.finfo(narrow).eps <= torch.finfo(wide).eps:
        return as_rounded(shared)
    gradient = {name: g.to(wide) for name, g in shared.gradient.items()}
    return replace(shared, gradient=gradient, sent_as=shared.sent_as or narrow)


def _dtype(tensors: Tensors) -> torch.dtype | None:
    """The one floating dtype of all these tensors; None: there is no such."""
    dtypes = {tensor.dtype for tensor in tensors.values()}
    only = dtypes.pop() if len(dtypes) == 1 else None
    return only if only is not None and only.is_floating_point else None
