"""The patches of images, and images from patches, in simpler loops than PyTorch's own."""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

Pair = tuple[int, int]
"""Of rows and columns."""


def im2col(x: Tensor, kernel: Pair, dilation: Pair, padding: Pair, stride: Pair) -> Tensor:
    """`aten.im2col`: the patches of images, (batch, channels · kernel, places).

    Args:
        x: (batch, channels, height, width).
        kernel: the size of a patch.
        dilation: the distance of its pixels.
        padding: zeros around the image.
        stride: the distance of the patches.
    """
    rows, columns = padding
    padded = pad(x, (columns, columns, rows, rows))
    return _patches(padded, kernel, dilation, stride)


def col2im(
    columns: Tensor, size: Pair, kernel: Pair, dilation: Pair, padding: Pair, stride: Pair
) -> Tensor:
    """`aten.col2im`: images in which each pixel is the sum of what all patches have for it.

    NotImplemented, which says that PyTorch's own is better, for one image, where that is quicker,
    and on other devices, where the order of such a sum is by chance.

    Args:
        columns: (batch, channels · kernel, places).
        size: height and width of the images.
        kernel: as in `im2col`, as the others are.
        dilation: the same.
        padding: the same.
        stride: the same.
    """
    batch = len(columns)
    if batch == 1 or columns.device.type != "cpu":
        return NotImplemented
    channels = columns.shape[1] // math.prod(kernel)
    top, left = padding
    height, width = size
    shape = (channels, height + 2 * top, width + 2 * left)
    numbers = torch.arange(math.prod(shape), device=columns.device).view(1, *shape)
    index = _patches(numbers, kernel, dilation, stride).flatten()
    blank = columns.new_zeros(batch, numbers.numel())
    padded = blank.index_add(1, index, columns.reshape(batch, -1)).view(batch, *shape)
    return padded[:, :, top : top + height, left : left + width]


def _patches(padded: Tensor, kernel: Pair, dilation: Pair, stride: Pair) -> Tensor:
    """(batch, channels · kernel, places)."""
    batch, channels, *size = padded.shape
    steps = padded.stride()
    within = [step * apart for step, apart in zip(steps[2:], dilation, strict=True)]
    between = [step * apart for step, apart in zip(steps[2:], stride, strict=True)]
    reach = [apart * (n - 1) + 1 for n, apart in zip(kernel, dilation, strict=True)]
    places = [(n - r) // s + 1 for n, r, s in zip(size, reach, stride, strict=True)]
    shape = (batch, channels, *kernel, *places)
    view = padded.as_strided(shape, (*steps[:2], *within, *between))
    return view.reshape(batch, channels * math.prod(kernel), -1)


DECOMPOSITIONS = {
    torch.ops.aten.im2col.default: im2col,
    torch.ops.aten.col2im.default: col2im,
}
"""What replaces them in a trace."""
