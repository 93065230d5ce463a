"""What the gradient of a linear layer tells of its client: how many products, how much noise."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from dlgutils import models

UNBALANCED = 1e-2
"""Of what is left over: if its columns sum to less, it is not noise."""
_ROUNDINGS = 1e3  # of the length of the gradient: what is left over beyond that is not rounding


def scale_of(delta: Tensor, z: Tensor, tolerance: float) -> tuple[float, float]:
    """The c for which δ = c · (softmax(z) − onehot(y)), and what is left of δ, relative to it.

    The label y is where δ is smallest, or largest, if c is negative. Where only two classes count,
    both explain δ; then c is the positive one.

    delta, z: (classes,). tolerance: of what is left.
    """
    fits = []
    for y in (delta.argmin(), delta.argmax()):
        implied = z.softmax(0) - one_hot(y, len(z))
        scale = delta @ implied / (implied @ implied)
        residual = (delta - scale * implied).norm() / delta.norm()
        fits.append((float(residual), float(scale)))
    residual, scale = fits[0] if fits[0][0] <= tolerance else min(fits)
    return scale, residual


def singular_values(g: Tensor) -> Tensor:
    """Of a gradient, the largest first. Those from the k-th on are what rank k leaves over."""
    return torch.linalg.svdvals(g.double())


def rounding(g: Tensor) -> Tensor:
    """The most that rounding leaves over of a gradient g, as a length: a scalar."""
    return _ROUNDINGS * torch.finfo(g.dtype).eps * g.norm()


# Every column of δ uᵀ sums to zero, as δ does, and so do all sums of such products. Noise, pruning
# and rounding to few digits spoil the sums as much as the rank.
def is_noisy(g: Tensor, rank: int) -> bool:
    """Whether a classifier's gradient, (classes, features), has noise beside `rank` products."""
    unbalanced = g.double().sum(0).norm()
    if unbalanced <= rounding(g):
        return False
    return bool(unbalanced > UNBALANCED * singular_values(g)[rank:].norm())


# [∂loss/∂W, ∂loss/∂b] = c δ [u, 1]ᵀ + noise. The nearest matrix of rank one gives the direction of
# [u, 1], whose last entry is one, and with it c δ by least squares; u implies δ, and so c.
def scale_under_noise(g: Tensor, g_bias: Tensor, weight: Tensor, bias: Tensor) -> float:
    """The factor by which the noisy gradient of one image was multiplied.

    Args:
        g: the gradient of the classifier's weight, (classes, features).
        g_bias: that of its bias, (classes,).
        weight: (classes, features).
        bias: (classes,).
    """
    joined = torch.cat([g, g_bias[:, None]], 1).double()
    _, _, right = torch.linalg.svd(joined, full_matrices=False)
    inputs = right[0] / right[0, -1]
    delta = joined @ inputs / inputs.square().sum()
    z = weight.double() @ inputs[:-1] + bias.double()
    scale, _ = scale_of(delta, z, tolerance=1.0)
    return scale


def returns_logits_of(model: nn.Module, weight: str, x_shape: tuple[int, ...]) -> bool:
    """Whether what the model returns is what leaves the linear layer with this weight."""
    like = next(model.parameters())  # of zeros, all that follows may be zero too
    ramp = torch.linspace(0, 1, math.prod(x_shape)).to(like).reshape(x_shape)
    calls, output = models.observe(model, ramp)
    outputs = [call.output for call in calls if f"{call.name}.weight" == weight]
    return any(own.shape == output.shape and own.equal(output) for own in outputs)
