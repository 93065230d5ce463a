"""What the widgets have in common: one look, and front ends that need no address to import from."""

from pathlib import Path

import anywidget
from torch import Tensor
from traitlets import TraitType

from dlgutils.javascript.bundle import bundle

STATIC = Path(__file__).parent / "static"


class Widget(anywidget.AnyWidget):
    """A widget in the book's look."""

    _css = STATIC / "widgets.css"


def synced(trait: TraitType) -> TraitType:
    """The trait, kept the same in the page and in the kernel."""
    return trait.tag(sync=True)


def front_end(name: str) -> str:
    """The source of `static/NAME.js` and of all that it imports, as one module."""
    return bundle(STATIC / f"{name}.js")


def as_bytes(x: Tensor) -> bytes:
    """Pictures, clipped to [0, 1], as bytes in the order n, height, width, channels.

    x: (n, channels, height, width).
    """
    clipped = x.detach().cpu().nan_to_num().clamp(0, 1)
    pixels = (255 * clipped).round().byte()
    return pixels.permute(0, 2, 3, 1).numpy().tobytes()
