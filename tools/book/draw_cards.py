"""Draw the picture of each chapter, for its card on the front page and for previews of links: python tools/book/draw_cards.py

Each comes from a small run of its own. What its function says is its alt text, which the file carries too. All have the
1200 × 630 pixels that previews want, and no letters, which would be too small to read on a card.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Generator, Tensor, nn

import dlgutils as du
from dlgutils import attacks, data, models, plots
from dlgutils.analytic import closed_form

FOLDER = Path(__file__).resolve().parents[1] / "_build" / "cards"
GROUND, BLUE, PALE, RED = (
    "#10273d",
    "#7cc0ee",
    "#d8eefc",
    "#ff8a5c",
)  # night, the blues of the drop, and what stands out
SIGNS = LinearSegmentedColormap.from_list("signs", [RED, GROUND, BLUE])


def shared_round(
    batch: du.Batch, *, rate: float = 0.0, init: Callable = models.init_default, seed: int = 3
) -> tuple[nn.Module, du.Shared]:
    """An untrained network with dropout of this rate, and what a client who has `batch` shares of it."""
    generator = Generator().manual_seed(seed)
    model = init(models.lenet(dropout=rate).to(batch.x.dtype), generator)
    return model, du.share(model, batch, generator)


def side_by_side(figure: Figure, pictures: Sequence[Tensor]) -> None:
    """Two or three square pictures, (channels, height, width) each, as large as fits."""
    axes = figure.subplots(
        1, len(pictures), gridspec_kw={"left": 0.03, "right": 0.97, "wspace": 0.05}
    )
    for ax, picture in zip(axes, pictures, strict=True):
        plots.images(picture[None], axes=[ax])


def bare(figure: Figure) -> Axes:
    """Axes without ticks and frame."""
    ax = figure.add_axes((0.06, 0.1, 0.88, 0.8))
    ax.set_axis_off()
    return ax


def mosaic(maps: Tensor) -> Tensor:
    """Nine feature maps, (9, height, width), from black to white each, in three rows: (1, 3 · height, 3 · width)."""
    low, high = maps.amin((1, 2), True), maps.amax((1, 2), True)
    return torch.cat([torch.cat([*row], 1) for row in ((maps - low) / (high - low)).split(3)])[None]


def what_a_gradient_gives_away(figure: Figure) -> None:
    """Three pictures: a grey square, a blurred cat in pale colours, the sharp photograph of the cat."""
    frames = du.invert(*shared_round(data.photos("cat")), attacks.idlg, steps=100).frames[:, 0, 0]
    side_by_side(figure, frames[[0, 4, -1]])


def reading_the_label(figure: Figure) -> None:
    """Twelve bars, one for each class: eleven point up a little, and one points far down."""
    delta = shared_round(data.photos("coffee"))[1].gradient["fc.bias"].tolist()
    ax = bare(figure)
    ax.bar(range(12), delta, color=[RED if d < 0 else BLUE for d in delta])
    ax.axhline(0, color=PALE, linewidth=4)


def the_dropout_defence(figure: Figure) -> None:
    """Two pictures: a photograph of a pagoda, and garish noise, which is all that an attack found behind dropout."""
    batch = data.photos("pagoda")
    side_by_side(
        figure,
        [batch.x[0], du.invert(*shared_round(batch, rate=0.5), attacks.idlg, steps=100).x[0, 0]],
    )


def why_attacks_diverge(figure: Figure) -> None:
    """Eight curves of the matching loss against time: some end above where they began, the others fall and fall."""
    x, y = data.photos("coffee")
    model, shared = shared_round(du.Batch(x.double(), y), init=models.init_uniform, seed=1)
    loss = du.invert(model, [shared] * 8, attacks.idlg_reference, range(100, 108), steps=40).loss
    ax = bare(figure)
    for curve in loss / loss[:, :1]:
        ax.semilogy(curve.tolist(), color=RED if curve[-1] > 1 else BLUE, linewidth=5)
    ax.axhline(1, color=PALE, linewidth=2)


def reading_the_mask(figure: Figure) -> None:
    """A gradient as a grid of coloured cells, with empty columns wherever dropout switched a unit off."""
    gradient = shared_round(data.photos("pagoda"), rate=0.5)[1].gradient["fc.weight"]
    bare(figure).imshow(gradient[:, :32].numpy(), cmap=SIGNS, vmin=-0.2, vmax=0.2, aspect="auto")


def no_iterations_at_all(figure: Figure) -> None:
    """Two pictures: nine small grey images of a cup, as they entered a hidden layer, and the cup of coffee in colour."""
    *_, second, first = closed_form.recover(*shared_round(data.photos("coffee"))).layers
    side_by_side(figure, [mosaic(second.u[0, :9]), first.u[0]])


def lab(figure: Figure) -> None:
    """Three pictures: a drawing of a house, the same house blurred, and nearly as drawn, as an attack found it."""
    drawing = Image.new("RGB", (32, 32), PALE)
    pen = ImageDraw.Draw(drawing)
    pen.rectangle((8, 15, 23, 27), outline=GROUND, width=2)
    pen.line(((4, 16), (15, 5), (16, 5), (27, 16)), fill="#b3402a", width=3)
    pen.rectangle((13, 20, 18, 27), fill="#2f7ab8")
    pen.ellipse((24, 2, 30, 8), fill="#f2b632")
    x = torch.from_numpy(np.array(drawing)).permute(2, 0, 1) / 255
    frames = du.invert(
        *shared_round(du.Batch(x[None], torch.tensor([0]))), attacks.idlg, steps=100
    ).frames[:, 0, 0]
    side_by_side(figure, [x, frames[4], frames[-1]])


PICTURES = {
    "01_what_a_gradient_gives_away": what_a_gradient_gives_away,
    "02_reading_the_label": reading_the_label,
    "03_the_dropout_defence": the_dropout_defence,
    "04_why_attacks_diverge": why_attacks_diverge,
    "05_reading_the_mask": reading_the_mask,
    "06_no_iterations_at_all": no_iterations_at_all,
    "lab": lab,
}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        figure = Figure(figsize=(12, 6.3), facecolor=GROUND)
        draw(figure)
        figure.savefig(FOLDER / f"{name}.png", dpi=100, metadata={"Description": draw.__doc__})


if __name__ == "__main__":
    main()
