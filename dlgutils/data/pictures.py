"""Pictures as tensors in [0, 1]: a file of one's own, or arrays of bytes."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dlgutils.types import Batch

if TYPE_CHECKING:
    from PIL import Image


def picture(path: str | Path, *, size: int = 32) -> Tensor:
    """A picture of your own as an attack wants it: (1, 3, size, size) in [0, 1].

    Whatever Pillow opens will do: any size, grey or in colour, photographs from a phone. It is
    turned upright as its camera noted, laid on white where it is transparent, cut to its central
    square and reduced.

    path: of the file. size: in pixels. Raises FileNotFoundError if there is none, and ValueError
    for a size below 1, or a file that is not a picture, is damaged or is too large for Pillow.
    """
    from PIL import Image, ImageOps

    if size < 1:
        raise ValueError(f"a picture needs a size of at least 1 pixel, got {size}")
    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened)
            colours = _colours(upright)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path} cannot be read as a picture ({error}); save it as PNG or JPEG"
        ) from error
    square = ImageOps.fit(colours, (size, size), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(square))
    return pixels.permute(2, 0, 1)[None].float() / 255


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
