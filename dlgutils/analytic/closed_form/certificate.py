"""The proof of the pudding: whether the gradient of the answer is the gradient that was shared."""

import copy

from torch import Tensor, nn

from dlgutils import federated
from dlgutils.types import Shared, Tensors


# A wrong picture moves the tensors of the first layers most, which are a small part of the whole
# gradient; so the tensors are compared one by one.
def residual(model: nn.Module, shared: Shared, x: Tensor, y: Tensor, masks: Tensors) -> float:
    """The largest relative distance ‖g′ − g‖/‖g‖ of a tensor g′ recomputed from an answer.

    Tensors of the gradient that are zero everywhere are left out. This is a check of the whole
    answer. An exact one leaves its rounding, 1e-6 in single precision, or noise: a standard
    deviation of σ leaves about σ√n/‖g‖ of a tensor of n numbers. The walk from layer to layer makes
    rounding larger; on trained networks right answers leave up to 2e-3, and wrong ones 0.1 and
    more. An answer that leaves little may still be one of many: see `Solution.determined`.

    Args:
        model: in float64, with the weights of the round.
        shared: the round.
        x: (1, channels, height, width), in float64.
        y: (1,), its label.
        masks: {name: (1, features)} as they were read.
    """
    masks = {name: mask.double() for name, mask in masks.items()}
    weights = {name: weight.double() for name, weight in shared.weights.items()}
    model = copy.deepcopy(model).requires_grad_(True)
    recomputed = federated.gradient(weights, model, x, y, masks)
    distances = []
    for name, g in shared.gradient.items():
        target = g.double()
        length = target.norm()
        if length > 0:
            distances.append((recomputed[name] - target).norm() / length)
    return float(max(distances))
