"""Pictures that a page carries in itself: PNG as data addresses."""

import base64
import io
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor

from dlgutils.auditing.text import escaped
from dlgutils.auditing.verdicts import Fields
from dlgutils.auditing.words import class_in_words
from dlgutils.types import Batch

MOST = 16  # pairs of pictures that a page shows
WIDEST = 128  # pixels; larger pictures are reduced
SMALL = 64  # pixels, up to which they are shown as squares


def pairs(
    images: Sequence[Fields], found: Batch, truth: Batch, class_names: Sequence[str] = ()
) -> str:
    """A list of figures in HTML: each image of the client beside what was found of it.

    Of more than 16, those with the highest SSIM are shown, in the order of the client.

    Args:
        images: how each compares with its truth.
        found: what was found.
        truth: what the client had, in the same order.
        class_names: by class id; (): classes have numbers only.
    """
    by_likeness = sorted(range(len(images)), key=lambda k: -(images[k]["ssim"] or 0))
    figures = []
    for k in sorted(by_likeness[:MOST]):
        name = f"Image {k + 1}"
        sides = (
            _img(truth.x[k], f"{name}: the original."),
            _img(found.x[k], _alt(name, images[k])),
        )
        figures.append(_figure(sides, _caption(name, images[k], class_names), images[k]))
    return f'<ul class="dlg-pairs" role="list">{"".join(figures)}</ul>'


def in_words(image: Fields) -> str:
    """How like its truth an image is: "recognisable, SSIM 0.93"."""
    seen = "recognisable" if image["recognisable"] else "not recognisable"
    score = "not defined" if image["ssim"] is None else f"{image['ssim']:.2f}"
    return f"{seen}, SSIM {score}"


def data_url(x: Tensor) -> str:
    """A picture, (channels, height, width), clipped to [0, 1], as the address of a PNG.

    One channel is grey and three are colours; of other numbers of channels it is the mean. A
    picture of more than 128 pixels is reduced.
    """
    from PIL import Image

    x = x.detach().float().cpu().nan_to_num().clamp(0, 1)
    x = x if len(x) in (1, 3) else x.mean(0, keepdim=True)
    pixels = (255 * x).round().byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels if len(x) == 3 else pixels[..., 0])
    picture.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _alt(name: str, image: Fields) -> str:
    return f"{name}, as the attacker found it: {in_words(image)}."


def _img(x: Tensor, alt: str) -> str:
    height, width = x.shape[-2:]
    kind = ' class="dlg-small"' if max(height, width) <= SMALL else ""
    size = f'width="{width}" height="{height}"'
    return f'<img{kind} src="{data_url(x)}" {size} alt="{escaped(alt)}">'


def _figure(sides: Sequence[str], caption: Iterable[str], image: Fields) -> str:
    words = "".join(f"<span>{escaped(line)}</span>" for line in caption)
    kind = "seen" if image["recognisable"] else "unseen"
    inside = f"{''.join(sides)}<figcaption>{words}</figcaption>"
    return f'<li><figure class="dlg-{kind}">{inside}</figure></li>'


def _caption(name: str, image: Fields, class_names: Sequence[str]) -> Iterator[str]:
    yield f"{name}: {in_words(image)}"
    if image["label"] is not None and image["label_read"] is not None:
        had, read = (class_in_words(image[key], class_names) for key in ("label", "label_read"))
        yield f"label {had}, read as {read}"
