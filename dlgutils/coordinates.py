"""Coordinates of the unknown images, which decide how fast an optimiser finds them."""

import math
from functools import cache

import torch
from torch import Tensor

from dlgutils.types import Transform

_CORNER = 4  # half waves across the image up to which photographs keep their full amplitude
_CHROMA = 0.4  # the size of colour differences relative to that of grey
CONTRAST = 0.36
"""The variance of a photograph's whitened coordinates, but for the few longest waves.

Theirs is up to a thousand times as large: an attacker who takes this for all guesses too grey.
"""


def _encode(x: Tensor) -> Tensor:
    rows, columns, amplitude = _waves(*x.shape[-2:], x.dtype, x.device)
    v = x - 0.5
    grey = v.mean(-3, keepdim=True)
    return rows @ (grey + (v - grey) / _CHROMA) @ columns.mT / amplitude


def _decode(u: Tensor) -> Tensor:
    rows, columns, amplitude = _waves(*u.shape[-2:], u.dtype, u.device)
    v = rows.mT @ (u * amplitude) @ columns
    grey = v.mean(-3, keepdim=True)
    return 0.5 + grey + _CHROMA * (v - grey)


_QUANTISATION = 1 / 255 / math.sqrt(12)  # the standard deviation of rounding to a byte


def measured(images: Tensor) -> Transform:
    """Coordinates in which images like these are white noise: zero on average, of variance one.

    Cosine waves over pixels and channels, less the mean of the images, each divided by the standard
    deviation that it has among them, the rounding of pixels to bytes included. So the images are
    taken as a normal distribution in which no two waves are correlated.

    images: (n, channels, height, width) in [0, 1], two or more; not those that are attacked. Raises
    ValueError for other shapes.
    """
    if images.ndim != 4 or len(images) < 2:
        raise ValueError(
            "coordinates are measured on two or more images, (n, channels, height, width), got "
            f"{tuple(images.shape)}; without any, take coordinates.whitened"
        )
    x = images.double()
    waves = [_cosines(torch.arange(n, dtype=torch.float64, device=x.device)) for n in x.shape[1:]]
    mean = x.mean(0)
    size = torch.hypot(_over(waves, x - mean).std(0), torch.tensor(_QUANTISATION).to(x))
    back = [wave.T for wave in waves]

    def encode(x: Tensor) -> Tensor:
        return _over(waves, x - mean.to(x)) / size.to(x)

    def decode(u: Tensor) -> Tensor:
        return mean.to(u) + _over(back, u * size.to(u))

    return Transform("measured", encode, decode)


def _over(waves: list[Tensor], x: Tensor) -> Tensor:
    """These matrices over the channels, rows and columns of images (..., channels, h, w)."""
    channels, rows, columns = (wave.to(x) for wave in waves)
    within = rows @ x @ columns.mT
    return (channels @ within.flatten(-2)).view(within.shape)


@cache
def _waves(
    height: int, width: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Cosine transforms of columns and rows, and the amplitude 1/√(1 + (f/corner)²) of each f."""
    down = torch.arange(height, dtype=torch.float64)
    across = torch.arange(width, dtype=torch.float64)
    squared_frequency = down[:, None] ** 2 + across**2
    amplitude = (1 + squared_frequency / _CORNER**2).rsqrt()
    return tuple(t.to(device, dtype) for t in (_cosines(down), _cosines(across), amplitude))


def _cosines(k: Tensor) -> Tensor:
    """The orthonormal cosine transform (DCT-II) as a matrix, one frequency per row."""
    n = len(k)
    waves = torch.cos(math.pi / n * k[:, None] * (k + 0.5)) * math.sqrt(2 / n)
    return torch.where(k[:, None] == 0, math.sqrt(1 / n), waves)


whitened = Transform("whitened", _encode, _decode)
"""Coordinates in which photographs are white noise: of equal size, uncorrelated, zero at grey.

Cosine waves over the pixels, grey and differences of colour over the channels, each divided by the
amplitude that it has in photographs: falling like 1/f (Field 1987, doi:10.1364/JOSAA.4.002379)
above four half waves across the image, and 0.4 of it for differences of colour. All that an
attacker needs to know about the image is that it is a photograph.
"""
