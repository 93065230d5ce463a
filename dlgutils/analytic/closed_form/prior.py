"""What is known about the input of a convolution before its equations: a normal distribution."""

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from dlgutils import coordinates
from dlgutils.analytic.closed_form.activations import INVERTIBLE


class Prior(NamedTuple):
    """A normal distribution of u."""

    mean: Tensor  # (n,)
    precision: Tensor  # (n, n): the inverse of its covariance

    def gradient(self, u: Tensor) -> Tensor:
        """The gradient of ½ (u − mean)ᵀ precision (u − mean) at u, (n,)."""
        return self.precision @ (u - self.mean)

    # With P = L Lᵀ and n standard normal, L⁻ᵀ n has the covariance L⁻ᵀ L⁻¹ = P⁻¹.
    def draw(self, count: int, generator: Generator) -> Tensor:
        """Some u at random, (count, n). generator: on the CPU."""
        factor = torch.linalg.cholesky(self.precision)
        noise = torch.randn(len(self.mean), count, generator=generator, dtype=torch.float64)
        away = torch.linalg.solve_triangular(factor.T, noise.to(factor), upper=True)
        return self.mean + away.T


def prior_of(below: nn.Module | None, outputs: Tensor, shape: tuple[int, int, int]) -> Prior:
    """The prior of what enters a convolution: an image, or what left an activation.

    Args:
        below: the activation that it left; None: it is the image.
        outputs: what left the convolution, in the wanted dtype and device.
        shape: (channels, height, width) of what enters it.
    """
    if below is None:
        return image_prior(outputs, shape)
    return activation_prior(below, outputs, math.prod(shape))


# Photographs are white noise in `coordinates.whitened`: with T the map to those coordinates, T(u −
# ½) is N(0, contrast), so the precision of u is TᵀT/contrast. T first mixes the channels and then
# the pixels, independently of one another: it is a Kronecker product, and so is TᵀT. The factors
# are found by encoding unit images.
def image_prior(like: Tensor, shape: tuple[int, int, int]) -> Prior:
    """The prior of photographs: mid-grey on average, with smooth deviations.

    like: a tensor of the wanted dtype and device. shape: (channels, height, width).
    """
    channels, height, width = shape
    pixels = height * width
    one_channel = torch.eye(channels).to(like)
    one_pixel = torch.eye(pixels).to(like)
    over_channels = _products(one_channel.view(-1, channels, 1, 1))
    over_pixels = _products(one_pixel.view(-1, 1, height, width))
    precision = torch.kron(over_channels, over_pixels) / coordinates.CONTRAST
    mean = like.new_full((channels * pixels,), 0.5)
    return Prior(mean, precision)


def activation_prior(below: nn.Module, outputs: Tensor, n: int) -> Prior:
    """The prior of n independent units that lie in the range of the activation below them.

    Where the range has no end, or there is no activation below, the standard deviation is ten times
    the largest output of the convolution.

    Args:
        below: the module whose output is u.
        outputs: what left the convolution that u enters, in the wanted dtype and device.
        n: the number of unknowns.
    """
    ends = outputs.new_tensor([-math.inf, math.inf])
    if type(below) in INVERTIBLE:
        ends = below(ends)
    low, high = ends.tolist()
    mean = (low + high) / 2
    size = (high - low) / 2
    if not math.isfinite(size):
        mean = 0.0
        largest = float(outputs.abs().max())
        size = 10 * largest or 1.0
    means = outputs.new_full((n,), mean)
    identity = torch.eye(n).to(outputs)
    return Prior(means, identity / size**2)


def _products(images: Tensor) -> Tensor:
    """The scalar products of these deviations from grey in whitened coordinates: (n, n).

    images: (n, channels, height, width), less mid-grey.
    """
    whitened = coordinates.whitened.encode(0.5 + images).flatten(1)
    return whitened @ whitened.T
