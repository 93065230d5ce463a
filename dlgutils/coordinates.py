"""Coordinates of the unknown images, which decide how fast an optimiser finds them."""

import math
from functools import cache

import torch
from torch import Tensor

from dlgutils.types import Transform

_CORNER = 4  # half waves across the image up to which photographs keep their full amplitude
CONTRAST = 0.6
"""The variance of a photograph's whitened coordinates."""
_CHROMA = 0.4  # the size of colour differences relative to that of grey


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
