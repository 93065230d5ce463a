"""The normal matrix of a convolution's equations: as a whole, in parts, and without being made.

With J the equations of `equations`, each divided by its standard error, it is N = JᵀJ, the second
derivative of half the squared error. The convolution adds little to most entries, and the shared
gradient the same square block to every channel.
"""

import torch
from torch import Tensor

from dlgutils.analytic.closed_form.equations import Equations

_ADDITION = 150  # how many times as long as a multiplication in a product an addition here takes
_PLACES = 16  # of the convolution, whose products with one another are added at a time


def normal_times(equations: Equations, v: Tensor) -> Tensor:
    """The normal matrix times some vectors, (unknowns, k), without the matrix."""
    padded = torch.cat([v, v.new_zeros(1, v.shape[1])])
    patches = padded[equations.index]
    z = torch.tensordot(equations.weight, patches, 1)
    gradient = torch.einsum("op,tpk->otk", equations.grad_output, patches)
    return _transposed(
        equations,
        equations.z_precision[..., None] * z,
        equations.gradient_precision[..., None] * gradient,
    )


def pull(equations: Equations, noise: Tensor) -> Tensor:
    """Jᵀ times some vectors, (unknowns, k): if they are standard normal, of covariance JᵀJ.

    noise: (out · (places + taps), k), a number for each equation.
    """
    out, places = equations.z.shape
    k = noise.shape[1]
    of_z, of_gradient = noise.split([out * places, equations.gradient.numel()])
    z = equations.z_precision.sqrt()[..., None] * of_z.view(out, places, k)
    gradient = equations.gradient_precision.sqrt()[..., None] * of_gradient.view(out, -1, k)
    return _transposed(equations, z, gradient)


def _transposed(equations: Equations, z: Tensor, gradient: Tensor) -> Tensor:
    """The transpose of both systems, (unknowns, k), of (out, places, k) and (out, taps, k)."""
    from_z = torch.tensordot(equations.weight.T, z, 1)
    from_gradient = torch.einsum("otk,op->tpk", gradient, equations.grad_output)
    return equations.fold(from_z + from_gradient)


def normal_matrix(equations: Equations) -> Tensor:
    """The second derivative of ½ Σ precision · residual², (unknowns, unknowns)."""
    if _are_rows_faster(equations):
        rows = rows_of_z(equations)
        matrix = rows.T @ rows
    else:
        matrix = _normal_matrix_of_z(equations)
    block = block_of_gradient(equations)
    pixels = len(block)
    for start in range(0, equations.unknowns, pixels):
        channel = slice(start, start + pixels)
        matrix[channel, channel] += block
    return matrix


def _are_rows_faster(equations: Equations) -> bool:
    """Whether the product of the rows of J, zeros and all, is faster than adding up what is met."""
    known = int((equations.z_precision > 0).sum())
    taps, places = equations.index.shape
    return known * equations.unknowns**2 < _ADDITION * places * taps**2


# The equation of output o at place p is Σₜ W[o, t] u[index[t, p]] = z[o, p]. It adds its
# precision times W[o, t] W[o, s] to the entry of the unknowns index[t, p] and index[s, p]. The
# sum over o comes first: (places, taps, taps) products, each added to the entry to which it
# belongs; those of padding are zero, and added anywhere.
def _normal_matrix_of_z(equations: Equations) -> Tensor:
    """The part of the convolution itself, (unknowns, unknowns)."""
    size = equations.unknowns
    w = equations.weight
    matrix = w.new_zeros(size**2)
    chunks = zip(
        equations.index.T.split(_PLACES),
        equations.z_precision.split(_PLACES, 1),
        strict=True,
    )
    for places, precision in chunks:
        inside = (places < size).to(w)
        products = torch.einsum("ot,op,os->pts", w, precision, w)
        products *= inside[:, :, None] * inside[:, None, :]
        met = places.clamp(max=size - 1)
        entry = met[:, :, None] * size + met[:, None, :]
        matrix.index_add_(0, entry.flatten(), products.flatten())
    return matrix.view(size, size)


def rows_of_z(equations: Equations) -> Tensor:
    """The rows of J that belong to the convolution itself and are not zero, (m, unknowns)."""
    out, places = equations.z.shape
    rows = equations.weight.new_zeros(out, places, equations.unknowns + 1)
    index = equations.index.T.expand(out, -1, -1)
    weights = equations.weight[:, None].expand(-1, places, -1)
    rows.scatter_(2, index, weights)
    known = equations.z_precision > 0
    return rows[known][:, :-1] * equations.z_precision[known].sqrt()[:, None]


# The equation of kernel weight t of output o is Σₚ δ[o, p] u[index[t, p]] = ∂loss/∂W[o, t]. A
# tap t lies in one channel of u, and at the same place of the kernel the coefficients are the
# same in every channel. So the rows R of the first channel's taps are made, (out · taps,
# pixels), and their precision-weighted RᵀR is the block of every channel; between different
# channels there is nothing.
def block_of_gradient(equations: Equations) -> Tensor:
    """The part of the shared gradient, the same for each channel of u: (pixels, pixels)."""
    channels, height, width = equations.shape
    pixels = height * width
    out = len(equations.weight)
    taps = len(equations.index) // channels
    index = equations.index[:taps].clamp(max=pixels)
    rows = equations.grad_output.new_zeros(out, taps, pixels + 1)
    index = index.expand(out, -1, -1)
    coefficients = equations.grad_output[:, None].expand(-1, taps, -1)
    rows.scatter_add_(2, index, coefficients)
    weights = equations.gradient_precision.sqrt()[..., None]
    weighted = (weights * rows[..., :-1]).flatten(0, 1)
    return weighted.T @ weighted
