"""What is known about the input u of one convolution: two systems of linear equations.

With z the pre-activations of one image and δ = ∂loss/∂z, P u the patches of u that the kernel
meets, (taps, places), taps = (channels, kernel height, kernel width), and W the kernels, (out,
taps):

    W (P u) = z                  (out, places): the convolution itself, without its bias
    δ (P u)ᵀ = ∂loss/∂W          (out, taps): the shared gradient, which is linear in u too

Each equation is divided by its standard error. What follows is least squares: u minimises
½ Σ precision · residual², where precision = 1/error², and zero for an equation without information.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from dlgutils.analytic.closed_form.precision import precision_of_gradient, precision_of_z
from dlgutils.analytic.closed_form.records import Measured, Message, Step


@dataclass(frozen=True)
class Equations:
    """Both systems of one convolution, with the precision of each equation."""

    index: Tensor  # (taps, places): which unknown is met; `unknowns` for padding
    shape: tuple[int, int, int]  # of u: (channels, height, width)
    weight: Tensor  # (out, taps)
    grad_output: Tensor  # (out, places): δ = ∂loss/∂z
    z: Tensor  # (out, places): pre-activations without bias
    gradient: Tensor  # (out, taps): ∂loss/∂weight
    z_precision: Tensor  # (out, places); zero where z is unknown
    gradient_precision: Tensor  # (out, 1); zero where δ is zero at all places of a channel

    @property
    def unknowns(self) -> int:
        """The number of entries of u."""
        return math.prod(self.shape)

    @property
    def n_equations(self) -> int:
        """The number of equations with a precision above zero."""
        known = int((self.z_precision > 0).sum())
        channels = int((self.gradient_precision > 0).sum())
        return known + channels * len(self.index)

    def residuals(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The residuals of both systems at u, (unknowns,): (out, places) and (out, taps)."""
        padded = torch.cat([u, u.new_zeros(1)])
        patches = padded[self.index]
        z = self.z - self.weight @ patches
        gradient = self.gradient - self.grad_output @ patches.T
        return z, gradient

    def root_mean_square(self, u: Tensor) -> float:
        """The root mean square of the residuals of u, in units of their errors."""
        z, gradient = self.residuals(u)
        of_z = (self.z_precision * z**2).sum()
        of_gradient = (self.gradient_precision * gradient**2).sum()
        mean = float(of_z + of_gradient) / max(self.n_equations, 1)
        return math.sqrt(mean)

    def fold(self, patches: Tensor) -> Tensor:
        """The transpose of P: each entry is added to the unknown it came from, (unknowns, ...).

        patches: (taps, places, ...).
        """
        rest = patches.shape[2:]
        padded = patches.new_zeros(self.unknowns + 1, *rest)
        index = self.index.flatten()
        padded.index_add_(0, index, patches.flatten(0, 1))
        return padded[:-1]

    def negative_gradient(self, u: Tensor) -> Tensor:
        """Minus the gradient of ½ Σ precision · residual² at u, (unknowns,).

        The first system contributes Pᵀ(Wᵀ r), the second Pᵀ(rᵀ δ), r the residual times precision.
        """
        z, gradient = self.residuals(u)
        from_z = self.weight.T @ (self.z_precision * z)
        from_gradient = (self.gradient_precision * gradient).T @ self.grad_output
        return self.fold(from_z + from_gradient)


def equations_of(step: Step, measured: Measured, above: Message) -> Equations:
    """Both systems of a convolution.

    step: an `nn.Conv2d` with one group, padded with zeros; above: what is known about its output.
    """
    conv = step.module
    gradient = measured.gradient[f"{step.name}.weight"].flatten(1)
    out = len(gradient)
    grad_output = above.grad_output.view(out, -1)
    grad_error = above.grad_error.view(out, -1)
    error = above.error.view(out, -1)
    z = above.value.view(out, -1)
    if conv.bias is not None:
        z = z - conv.bias[:, None]
    z = torch.where(error.isfinite(), z, 0)
    return Equations(
        index=_unknowns_met(conv, step.shape),
        shape=step.shape,
        weight=conv.weight.flatten(1),
        grad_output=grad_output,
        z=z,
        gradient=gradient,
        z_precision=precision_of_z(z, error, measured.rounding),
        gradient_precision=precision_of_gradient(gradient, grad_output, grad_error, measured.noise),
    )


def _unknowns_met(conv: nn.Conv2d, shape: tuple[int, ...]) -> Tensor:
    """Which unknown each tap meets at each place, (taps, places); their number for padding."""
    n = math.prod(shape)
    numbers = torch.arange(1, n + 1).to(conv.weight)
    patches = unfold(
        numbers.view(1, *shape), conv.kernel_size, conv.dilation, conv.padding, conv.stride
    )
    index = patches[0].long() - 1  # padding is zero, hence −1
    return torch.where(index < 0, n, index)
