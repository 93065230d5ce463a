"""What is known about the input of a convolution before its equations: a normal distribution."""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from dlgutils import coordinates
from dlgutils.analytic.closed_form.activations import INVERTIBLE

_ONE = torch.ones(1, 1, dtype=torch.float64)


class Prior(NamedTuple):
    """A normal distribution of u; its precision is the Kronecker product channels ⊗ pixels."""

    mean: Tensor  # (n,)
    pixels: Tensor  # (pixels, pixels): within a channel
    channels: Tensor = _ONE  # (channels, channels): between them

    @property
    def precision(self) -> Tensor:
        """The inverse of the covariance, (n, n)."""
        return torch.kron(self.channels.to(self.pixels), self.pixels)

    def times(self, v: Tensor) -> Tensor:
        """The precision times some vectors, (n, k)."""
        channels = self.channels.to(self.pixels)
        mixed = channels @ v.reshape(len(channels), -1)
        return (self.pixels @ mixed.view(len(channels), len(self.pixels), -1)).view(v.shape)

    def gradient(self, u: Tensor) -> Tensor:
        """The gradient of ½ (u − mean)ᵀ precision (u − mean) at u, (n,)."""
        return self.times((u - self.mean)[:, None])[:, 0]

    def diagonal(self) -> Tensor:
        """The diagonal of the precision, (n,)."""
        channels = self.channels.diagonal().to(self.pixels)
        return torch.outer(channels, self.pixels.diagonal()).flatten()

    def root(self) -> Tensor:
        """The lower triangular R with R Rᵀ the precision, (n, n)."""
        channels = torch.linalg.cholesky(self.channels.to(self.pixels))
        return torch.kron(channels, torch.linalg.cholesky(self.pixels))

    @property
    def is_diagonal(self) -> bool:
        """Whether the units are independent."""
        matrices = (self.channels, self.pixels)
        return all(int(matrix.count_nonzero()) == len(matrix) for matrix in matrices)

    def stronger(self, factor: float) -> "Prior":
        """The same with so many times the precision."""
        return self._replace(channels=factor * self.channels)

    def add_to(self, matrix: Tensor, strength: float) -> None:
        """Adds so many times the precision to a matrix, (n, n), in place."""
        size = len(self.pixels)
        rows = zip(matrix.split(size), self.channels.tolist(), strict=True)
        for blocks, weights in rows:
            for block, weight in zip(blocks.split(size, 1), weights, strict=True):
                if weight:
                    block.add_(self.pixels, alpha=strength * weight)

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
    return activation_prior(below, outputs, shape)


# Photographs are white noise in `coordinates.whitened`: with T the map to those coordinates, T(u −
# ½) is N(0, contrast), so the precision of u is TᵀT/contrast. T first mixes the channels and then
# the pixels, independently of one another: it is a Kronecker product, and so is TᵀT. The factors
# are found by encoding unit images; that of the pixels, 8 MB for 32×32, is kept for other rounds.
def image_prior(like: Tensor, shape: tuple[int, int, int]) -> Prior:
    """The prior of photographs: mid-grey on average, with smooth deviations.

    like: a tensor of the wanted dtype and device. shape: (channels, height, width).
    """
    channels, height, width = shape
    one_channel = torch.eye(channels).to(like)
    over_channels = _products(one_channel.view(-1, channels, 1, 1)) / coordinates.CONTRAST
    over_pixels = _over_pixels(height, width, like.dtype, like.device)
    mean = like.new_full((channels * height * width,), 0.5)
    return Prior(mean, over_pixels, over_channels)


@lru_cache(maxsize=4)
def _over_pixels(height: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The precision within one channel of photographs, (pixels, pixels), but for the contrast."""
    one_pixel = torch.eye(height * width, dtype=dtype, device=device)
    return _products(one_pixel.view(-1, 1, height, width))


def activation_prior(below: nn.Module, outputs: Tensor, shape: tuple[int, int, int]) -> Prior:
    """The prior of independent units that lie in the range of the activation below them.

    Where the range has no end, or there is no activation below, the standard deviation is ten times
    the largest output of the convolution.

    Args:
        below: the module whose output is u.
        outputs: what left the convolution that u enters, in the wanted dtype and device.
        shape: (channels, height, width) of the units.
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
    channels, height, width = shape
    means = outputs.new_full((math.prod(shape),), mean)
    pixels = torch.eye(height * width).to(outputs)
    return Prior(means, pixels, torch.eye(channels).to(outputs) / size**2)


def _products(images: Tensor) -> Tensor:
    """The scalar products of these deviations from grey in whitened coordinates: (n, n).

    images: (n, channels, height, width), less mid-grey.
    """
    whitened = coordinates.whitened.encode(0.5 + images).flatten(1)
    return whitened @ whitened.T
