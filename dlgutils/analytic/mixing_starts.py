"""Where the search for the mixing matrix begins: guesses of how sure the network is of each image.

A guess of the probabilities P of all images, (images, classes), gives a guess of M in two ways: by
the logits, M L + b = log P + const, or by the δ, (P − onehot)ᵀ M = C, each by least squares. The
sums of P over the images are known: that of class k is n_k + B ∂loss/∂b_k. Alternately scaling rows
and columns (Sinkhorn & Knopp 1967, doi:10.2140/pjm.1967.21.343) makes a guess agree with them, and
that is what makes starts good: without it ten times as many are needed.
"""

import torch
from torch import Generator, Tensor

from dlgutils.analytic.mixing import System

_SPREAD = 3.0  # standard deviation of the logits of the classes that an image does not have
_SUREST = 4  # the probability of all other classes is between 1 and 10 to the minus this
_TURNS = 30  # of scaling
_TINY = 1e-9
_WEIGHT = 3.0  # of M r = 1 beside the logits


def of_logits(
    system: System, onehot: Tensor, delta_sum: Tensor | None, generator: Generator
) -> Tensor:
    """Random starts, (n, images, images).

    Args:
        system: the equations.
        onehot: the labels that each start assumes, (n, images, classes).
        delta_sum: (classes,), the sum of δ over the batch; None: it is not known.
        generator: on the CPU.
    """
    p = balanced(_guess(onehot, generator), onehot, delta_sum)
    return _fit_logits(system, p)


def of_single_logits(system: System, onehot: Tensor, generator: Generator) -> Tensor:
    """Random starts for single images, (n, images); onehot: (n, classes)."""
    return _fit_logits(system, _guess(onehot, generator))


def of_equal_probabilities(
    system: System, onehot: Tensor, delta_sum: Tensor | None, generator: Generator
) -> Tensor:
    """Starts for a network that gives all images nearly the same probabilities.

    Args:
        system: the equations.
        onehot: the labels that each start assumes, (n, images, classes).
        delta_sum: (classes,), the sum of δ over the batch; None: it is not known.
        generator: on the CPU.
    """
    normal = torch.randn(onehot.shape, generator=generator, dtype=torch.float64)
    p = (system.bias + 0.01 * normal.to(onehot)).softmax(-1)
    p = balanced(p, onehot, delta_sum)
    delta = (p - onehot) * system.scale
    return torch.linalg.pinv(delta.mT) @ system.target


def balanced(p: Tensor, onehot: Tensor, delta_sum: Tensor | None) -> Tensor:
    """Probabilities, (n, images, classes), scaled to have the sums over the images that are known.

    Args:
        p: not negative.
        onehot: the labels, of the same shape.
        delta_sum: (classes,), or None: then they are left as they are.
    """
    if delta_sum is None:
        return p
    columns = (onehot.sum(1) + delta_sum).clamp(min=_TINY)
    p = p + _TINY
    for _ in range(_TURNS):
        p = p * (columns / p.sum(1))[:, None]
        p = p / p.sum(-1, keepdim=True)
    return p


def _guess(onehot: Tensor, generator: Generator) -> Tensor:
    """Random probabilities, highest at the label; of the shape of onehot, (..., classes)."""
    shape = (*onehot.shape[:-1], 1)
    random = torch.rand(shape, generator=generator, dtype=torch.float64).to(onehot)
    normal = torch.randn(onehot.shape, generator=generator, dtype=torch.float64).to(onehot)
    others = (_SPREAD * normal).masked_fill(onehot > 0, -torch.inf)
    wrong = 10 ** (-_SUREST * random)
    return (1 - wrong) * onehot + wrong * others.softmax(-1)


def _fit_logits(system: System, p: Tensor) -> Tensor:
    """The m with M L + b = log p + const and M r = 1, by least squares; p: (..., classes)."""
    # the constant of the logits is one more unknown
    constant = torch.ones_like(system.bias)[None]
    matrix = torch.cat([system.logits, constant])
    target = p.clamp(min=_TINY).log() - system.bias
    if system.ones is not None:
        column = torch.cat([system.ones, system.ones.new_zeros(1)])
        matrix = torch.cat([matrix, _WEIGHT * column[:, None]], 1)
        target = torch.cat([target, torch.full_like(target[..., :1], _WEIGHT)], -1)
    return (target @ torch.linalg.pinv(matrix))[..., :-1]
