"""Pictures as tensors in [0, 1]: a file of one's own, or arrays of bytes."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dlgutils.types import Batch

if TYPE_CHECKING:
    from PIL import Image


def picture(path: str | Path, *, size: int | tuple[int, int] = 32) -> Tensor:
    """A picture of your own as an attack wants it: (1, 3, height, width) in [0, 1].

    Whatever Pillow opens will do: any size, grey or in colour, photographs from a phone. It is
    turned upright as its camera noted, laid on white where it is transparent, cut to its centre and
    reduced. A JPEG of more than 89 million pixels is reduced as it is unpacked, in less memory.

    path: of the file. size: in pixels, (height, width), or one number for a square. Raises
    FileNotFoundError if there is none, and ValueError for a size below 1, or a file that is not a
    picture, is damaged, or has too many pixels to be unpacked.
    """
    from PIL import Image, ImageOps

    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"a picture needs a size of at least 1 pixel, got {size}")
    try:
        with _opened(path) as opened:
            upright = ImageOps.exif_transpose(opened)
            colours = _colours(upright)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path} cannot be read as a picture ({error}); save it as PNG or JPEG"
        ) from error
    cut = ImageOps.fit(colours, (width, height), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(cut))
    return pixels.permute(2, 0, 1)[None].float() / 255


def _opened(path: str | Path) -> "Image.Image":
    """The picture, not yet unpacked, of at most as many pixels as Pillow unpacks without warning.

    A JPEG may be reduced by 8 on its way. Raises ValueError for other pictures of more pixels.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        opened = Image.open(path)
    width, height = opened.size
    if _has_too_many(opened):
        opened.draft(None, (width // 8, height // 8))
    if _has_too_many(opened):
        opened.close()
        raise ValueError(f"{width} × {height} pixels are too many to unpack")
    return opened


def _has_too_many(opened: "Image.Image") -> bool:
    from PIL import Image

    width, height = opened.size
    return width * height > (Image.MAX_IMAGE_PIXELS or float("inf"))


def _colours(image: "Image.Image") -> "Image.Image":
    """The picture in RGB, eight bits a channel, on white where it was transparent."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("its pixels are real numbers of an unknown range")
    if image.mode.startswith("I"):  # sixteen bits of grey
        high = np.asarray(image).astype(np.uint16) >> 8
        image = Image.fromarray(high.astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def batch_of_bytes(images: np.ndarray, labels: np.ndarray) -> Batch:
    """A batch of tensors from bytes in any of the layouts (n, h, w), (n, h, w, 3), (n, 3, h, w)."""
    x = torch.from_numpy(np.ascontiguousarray(images))
    if x.ndim == 3:
        x = x[:, None]
    elif x.shape[1] != 3:
        x = x.permute(0, 3, 1, 2)
    y = torch.from_numpy(labels.astype(np.int64))
    return Batch(x.contiguous().float() / 255, y)
