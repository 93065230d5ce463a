"""Gradients of which only some numbers are sent: the largest, or any.

The others are zero, and the attacker who knows it leaves them out of the comparison: what is zero
in what was sent counts as zero in what they make. So pruning costs them equations, and nothing
else, and as long as there are more numbers than pixels that is not much.
"""

import math

import torch
from torch import Generator, Tensor

from dlgutils.federated.defenses.checks import check_share, require_generator
from dlgutils.federated.defenses.remembered import remembered
from dlgutils.protocol import Defense, Effect
from dlgutils.types import Tensors

_ROUNDING = 1e-6  # of a count


@remembered
def top_k(share: float) -> Defense:
    """The defence that keeps the largest numbers of each tensor, by their size.

    share: of the numbers of each tensor that is kept, at least one; the rest are zero. A threshold
    for each tensor is what deep gradient compression has (Lin et al. 2018, arXiv:1712.01887), and
    with it the defence of Zhu, Liu & Han 2019, arXiv:1906.08935, who prune above 20 %. Numbers of
    equal size are kept or pruned together. If noise came after it, the largest numbers of what was
    sent are taken for those that were kept, unless they may be noise alone.

    Raises ValueError unless share is above 0 and at most 1.
    """
    check_share("top_k", share)

    def apply(gradient: Tensors, _: Generator | None) -> Tensors:
        return {name: torch.where(largest(g, share), g, 0) for name, g in gradient.items()}

    def imitate(made: Tensors, sent: Tensors) -> Tensors:
        pruned = {}
        for name, g in sent.items():
            kept = largest(g, share) & (g != 0)
            pruned[name] = torch.where(kept, made[name], 0)
        return pruned

    return Defense(f"largest {share:.4g} kept", apply, imitate, Effect.REMOVES)


@remembered
def prune_random(share: float) -> Defense:
    """The defence that keeps each number with the probability `share`, and makes others zero.

    Drawn on the CPU, in the order of the names. If everything would be zero, one number of each
    tensor is kept. The attacker sees which are zero, or, if noise came after it, which may be noise
    alone.

    Raises ValueError unless share is above 0 and at most 1.
    """
    check_share("prune_random", share)

    def apply(gradient: Tensors, generator: Generator | None) -> Tensors:
        generator = require_generator("what is pruned at random", generator)
        pruned = {}
        for name, g in gradient.items():
            uniform = torch.rand(g.shape, generator=generator)
            kept = uniform < max(share, float(uniform.min()) + torch.finfo(uniform.dtype).eps)
            pruned[name] = torch.where(kept.to(g.device), g, 0)
        return pruned

    return Defense(f"random {share:.4g} kept", apply, zero_where_zero, Effect.REMOVES)


def zero_where_zero(made: Tensors, sent: Tensors) -> Tensors:
    """What was made, with zeros where what was sent is zero."""
    return {name: torch.where(g != 0, made[name], 0) for name, g in sent.items()}


def largest(g: Tensor, share: float) -> Tensor:
    """Which numbers are the largest `share` of a tensor by size, at least one: bool of its shape.

    Those that are as large as the last one are among them, and NaN, which nobody may overlook.
    """
    size = g.abs()
    count = math.ceil(share * g.numel() - _ROUNDING)
    threshold = size.flatten().topk(max(count, 1)).values[-1]
    return ~(size < threshold)
