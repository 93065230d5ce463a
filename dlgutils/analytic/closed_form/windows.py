"""Both systems of a convolution whose activations are averaged, and how they change: see `pooled`.

Places are those of the convolution's output, windows those of the pool.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import fold, unfold

from dlgutils.analytic.closed_form import activations
from dlgutils.analytic.closed_form.precision import precision_of_gradient
from dlgutils.analytic.closed_form.records import Measured, Message

_CHUNK = 256  # rows of the Jacobian at a time


class Pooled(NamedTuple):
    """A convolution, the activation after it, the pool, and all that is known about them."""

    conv: nn.Conv2d
    activation: nn.Module  # `nn.Identity` where there is none
    pool: nn.AvgPool2d
    shape: tuple[int, int, int]  # of u
    gradient: Tensor  # (out, taps): ∂loss/∂W
    above: Message  # below the module that gets the pool's output
    measured: Measured

    @property
    def weight(self) -> Tensor:
        """W, (out, taps)."""
        return self.conv.weight.flatten(1)

    @property
    def image_shape(self) -> tuple[int, int]:
        """(height, width) of what leaves the convolution."""
        empty = self.conv.weight.new_zeros(1, *self.shape)
        return tuple(self.conv(empty).shape[2:])

    def patches(self, u: Tensor) -> Tensor:
        """P u of several inputs (k, n): (k, taps, places)."""
        conv = self.conv
        images = u.view(-1, *self.shape)
        return unfold(images, conv.kernel_size, conv.dilation, conv.padding, conv.stride)

    def fold(self, patches: Tensor) -> Tensor:
        """Pᵀ of (taps, places): each entry is added to the unknown it came from, (n,)."""
        conv = self.conv
        size = self.shape[1:]
        image = fold(patches, size, conv.kernel_size, conv.dilation, conv.padding, conv.stride)
        return image.flatten()

    def average(self, a: Tensor) -> Tensor:
        """The pool of (…, out, places): (…, out · windows)."""
        images = a.reshape(-1, len(self.gradient), *self.image_shape)
        return self.pool(images).view(*a.shape[:-2], -1)

    def spread(self, pooled: Tensor) -> Tensor:
        """The transpose of `average`, of (out · windows,): (out, places)."""
        places = self.gradient.new_zeros(len(self.gradient), *self.image_shape)
        _, pull_back = torch.func.vjp(lambda a: self.pool(a).flatten(), places)
        return pull_back(pooled)[0].flatten(1)


class Point(NamedTuple):
    """What both systems say at one u."""

    u: Tensor  # (n,)
    patches: Tensor  # (taps, places)
    z: Tensor  # (out, places)
    slope: Tensor  # (out, places): f′(z)
    grad_output: Tensor  # (out, places): δ
    residual: Tensor  # (equations,): what is known less what u gives


def point_at(block: Pooled, u: Tensor) -> Point:
    """Both systems at u, (n,)."""
    patches = block.patches(u)[0]
    z = block.weight @ patches
    if block.conv.bias is not None:
        z = z + block.conv.bias[:, None]
    slope = activations.derivative(block.activation, z)
    grad_output = slope * block.spread(block.above.grad_output)
    a = block.average(block.activation(z))
    of_value = torch.where(block.above.error.isfinite(), block.above.value - a, 0)
    of_gradient = block.gradient - grad_output @ patches.T
    residual = torch.cat([of_value, of_gradient.flatten()])
    return Point(u, patches, z, slope, grad_output, residual)


# The errors are those of `precision`: the client rounded z by ε times its size, which the slope
# takes to a; and δ is wrong by that too, and by the error of d.
def precision_at(block: Pooled, at: Point) -> Tensor:
    """1/error² of each equation, (equations,); zero for one without information."""
    mean_square = at.z.square().mean(1, keepdim=True)
    size = (at.z.square() + mean_square).sqrt()
    of_rounding = block.average(at.slope * size) * block.measured.rounding
    error = torch.hypot(block.above.error, of_rounding)
    of_value = torch.where(error > 0, error**-2, 0)
    grad_error = grad_error_at(block, at)
    noise = block.measured.noise
    of_row = precision_of_gradient(block.gradient, at.grad_output, grad_error, noise)
    of_gradient = of_row.expand_as(block.gradient)
    return torch.cat([of_value, of_gradient.flatten()])


def grad_error_at(block: Pooled, at: Point) -> Tensor:
    """The standard errors of δ, (out, places)."""
    of_above = at.slope * block.spread(block.above.grad_error)
    of_slope = block.measured.rounding * (1 + at.z.abs()) * at.grad_output
    return torch.hypot(of_above, of_slope)


# If u changes by v, then z by W (P v), a by pool(f′ · that), and δ (P u)ᵀ by two terms: δ (P v)ᵀ,
# and that of δ, which changes by f″ · poolᵀ(d) · W (P v).
def jacobian_at(block: Pooled, at: Point) -> Tensor:
    """How both systems change with u, (n, equations)."""
    curvature = activations.curvature(block.activation, at.z)
    of_slope = curvature * block.spread(block.above.grad_output)
    rows = []
    for changes in torch.eye(len(at.u)).to(at.u).split(_CHUNK):
        patches = block.patches(changes)
        z = block.weight @ patches
        value = block.average(at.slope * z)
        gradient = at.grad_output @ patches.mT + (of_slope * z) @ at.patches.T
        rows.append(torch.cat([value, gradient.flatten(1)], 1))
    return torch.cat(rows)
