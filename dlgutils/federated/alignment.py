"""Where a round meets a model: under which names, and in which numbers."""

from dataclasses import replace

import torch
from torch import nn

from dlgutils import models
from dlgutils.types import Shared, Tensors


def align(model: nn.Module, *rounds: Shared) -> tuple[nn.Module, list[Shared]]:
    """The model without its wrappers, and the rounds with the names of this model's parameters.

    Names are matched where only the prefixes of wrappers differ (`models.renamed`); others stay, so
    that `checks.check` can name them. A gradient of fewer digits than the weights, as an upload in
    float16 or bfloat16 is, gets their dtype; `Shared.precision` still says how it was rounded.
    """
    model = models.unwrapped(model)
    names = [name for name, _ in model.named_parameters()]
    return model, [_widened(_renamed(shared, names)) for shared in rounds]


def _renamed(shared: Shared, names: list[str]) -> Shared:
    weights = models.renamed(shared.weights, names)
    gradient = models.renamed(shared.gradient, names)
    if weights is shared.weights and gradient is shared.gradient:
        return shared
    return replace(shared, weights=weights, gradient=gradient)


def _widened(shared: Shared) -> Shared:
    """The round with its gradient in the dtype of the weights, if that has more digits."""
    wide, narrow = _dtype(shared.weights), _dtype(shared.gradient)
    if wide is None or narrow is None or torch.finfo(narrow).eps <= torch.finfo(wide).eps:
        return shared
    gradient = {name: g.to(wide) for name, g in shared.gradient.items()}
    return replace(shared, gradient=gradient, sent_as=shared.sent_as or narrow)


def _dtype(tensors: Tensors) -> torch.dtype | None:
    """The one floating dtype of all these tensors; None: there is no such."""
    dtypes = {tensor.dtype for tensor in tensors.values()}
    only = dtypes.pop() if len(dtypes) == 1 else None
    return only if only is not None and only.is_floating_point else None
