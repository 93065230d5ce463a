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
        """The transpose of P: each entry is added to the unknown it came from, (unknowns,)."""
        padded = patches.new_zeros(self.unknowns + 1)
        index = self.index.flatten()
        padded.index_add_(0, index, patches.flatten())
        return padded[:-1]

    def negative_gradient(self, u: Tensor) -> Tensor:
        """Minus the gradient of ½ Σ precision · residual² at u, (unknowns,).

        The first system contributes Pᵀ(Wᵀ r), the second Pᵀ(rᵀ δ), r the residual times precision.
        """
        z, gradient = self.residuals(u)
        from_z = self.weight.T @ (self.z_precision * z)
        from_gradient = (self.gradient_precision * gradient).T @ self.grad_output
        return self.fold(from_z + from_gradient)

    def normal_matrix(self) -> Tensor:
        """The second derivative of ½ Σ precision · residual², (unknowns, unknowns)."""
        matrix = self._normal_matrix_of_z()
        channels, height, width = self.shape
        pixels = height * width
        blocks = matrix.view(channels, pixels, channels, pixels)
        same_channel = blocks.diagonal(dim1=0, dim2=2)  # (pixels, pixels, channels)
        same_channel.add_(self._normal_block_of_gradient()[..., None])
        return matrix

    # The equation of output o at place p is Σₜ W[o, t] u[index[t, p]] = z[o, p]. It adds its
    # precision times W[o, t] W[o, s] to the entry of the unknowns index[t, p] and index[s, p]. The
    # sum over o comes first: (places, taps, taps) products, each added to the entry to which it
    # belongs. Padding counts as one more unknown, whose row and column are cut off.
    def _normal_matrix_of_z(self) -> Tensor:
        """The part of the convolution itself, (unknowns, unknowns)."""
        size = self.unknowns + 1
        w = self.weight
        products = torch.einsum("ot,op,os->pts", w, self.z_precision, w)
        places = self.index.T
        row = places[:, :, None]
        column = places[:, None, :]
        entry = row * size + column
        matrix = products.new_zeros(size**2)
        matrix.index_add_(0, entry.flatten(), products.flatten())
        return matrix.view(size, size)[:-1, :-1]

    # The equation of kernel weight t of output o is Σₚ δ[o, p] u[index[t, p]] = ∂loss/∂W[o, t]. A
    # tap t lies in one channel of u, and at the same place of the kernel the coefficients are the
    # same in every channel. So the rows R of the first channel's taps are made, (out · taps,
    # pixels), and their precision-weighted RᵀR is the block of every channel; between different
    # channels there is nothing.
    def _normal_block_of_gradient(self) -> Tensor:
        """The part of the shared gradient, the same for each channel of u: (pixels, pixels)."""
        channels, height, width = self.shape
        pixels = height * width
        out = len(self.weight)
        taps = len(self.index) // channels
        index = self.index[:taps].clamp(max=pixels)
        rows = self.grad_output.new_zeros(out, taps, pixels + 1)
        index = index.expand(out, -1, -1)
        coefficients = self.grad_output[:, None].expand(-1, taps, -1)
        rows.scatter_add_(2, index, coefficients)
        weights = self.gradient_precision.sqrt()[..., None]
        weighted = (weights * rows[..., :-1]).flatten(0, 1)
        return weighted.T @ weighted


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
