"""Draw the picture of each chapter, for its card and for previews of links.

python tools/book/draw_cards.py

Each comes from a small run of its own. The docstring of its function is its alt text, which the
file carries too. All have the 1200 × 630 pixels that previews want, and no letters, which would be
too small to read on a card.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Generator, Tensor

import dlgutils as du
from dlgutils import attacks, data, models, plots
from dlgutils.analytic import closed_form
from dlgutils.coordinates import whitened
from dlgutils.federated import Round, defenses, honest
from dlgutils.federated.defenses import Defense
from dlgutils.matching import weighing_noise
from dlgutils.widgets.trained import trained_networks

FOLDER = Path(__file__).resolve().parents[2] / "_build" / "cards"
GROUND = "#10273d"  # night
BLUE = "#7cc0ee"  # of the drop
PALE = "#d8eefc"  # of its light
RED = "#ff8a5c"  # what stands out
SIGNS = LinearSegmentedColormap.from_list("signs", [RED, GROUND, BLUE])


def make_round(batch: du.Batch, *, rate: float = 0.0) -> Round:
    """An honest round of an untrained network with dropout of this rate."""
    model = models.lenet(dropout=rate)
    generator = Generator().manual_seed(3)
    return honest(model, batch, generator)


def film(batch: du.Batch, *, rate: float = 0.0) -> Tensor:
    """The pictures that iDLG goes through in 100 evaluations: (frames, channels, height, width)."""
    model, _, shared, _ = make_round(batch, rate=rate)
    result = du.invert(model, shared, attacks.idlg, steps=100)
    return result.frames[:, 0, 0]


def side_by_side(figure: Figure, pictures: Sequence[Tensor]) -> None:
    """Two or three square pictures, (channels, height, width) each, as large as fits."""
    margins = {"left": 0.03, "right": 0.97, "wspace": 0.05}
    axes = figure.subplots(1, len(pictures), gridspec_kw=margins)
    for ax, picture in zip(axes, pictures, strict=True):
        plots.images(picture[None], axes=[ax])


def bare(figure: Figure) -> Axes:
    """Axes without ticks and frame."""
    ax = figure.add_axes((0.06, 0.1, 0.88, 0.8))
    ax.set_axis_off()
    return ax


def mosaic(maps: Tensor) -> Tensor:
    """Nine feature maps, from black to white each, in three rows.

    maps: (9, height, width). Returns (1, 3 · height, 3 · width).
    """
    pixels = maps.flatten(1)
    low = pixels.amin(1)[:, None, None]
    high = pixels.amax(1)[:, None, None]
    grey = (maps - low) / (high - low)
    rows = [torch.cat([*row], 1) for row in grey.split(3)]
    return torch.cat(rows)[None]


def what_a_gradient_gives_away(figure: Figure) -> None:
    """Three pictures: a grey square, a blurred cat in pale colours, the sharp photograph of the
    cat."""
    frames = film(data.photos("cat"))
    side_by_side(figure, frames[[0, 4, -1]])


def reading_the_label(figure: Figure) -> None:
    """Twelve bars, one for each class: eleven point up a little, and one points far down."""
    shared = make_round(data.photos("coffee")).shared
    delta = shared.gradient["fc.bias"].tolist()
    colours = [RED if d < 0 else BLUE for d in delta]
    ax = bare(figure)
    ax.bar(range(len(delta)), delta, color=colours)
    ax.axhline(0, color=PALE, linewidth=4)


def the_dropout_defence(figure: Figure) -> None:
    """Two pictures: a photograph of a pagoda, and garish noise, which is all that an attack found
    behind dropout."""
    batch = data.photos("pagoda")
    model, _, shared, _ = make_round(batch, rate=0.5)
    found = du.invert(model, shared, attacks.idlg, steps=100)
    side_by_side(figure, [batch.x[0], found.x[0, 0]])


def why_attacks_diverge(figure: Figure) -> None:
    """Eight curves of the matching loss against time: some end above where they began, the others
    fall and fall."""
    x, y = data.photos("coffee")
    model, _, shared, _ = honest(
        models.lenet().double(),
        du.Batch(x.double(), y),
        Generator().manual_seed(1),
        init=models.init_uniform,
    )
    seeds = range(100, 108)
    rounds = [shared] * len(seeds)
    result = du.invert(model, rounds, attacks.idlg_reference, seeds=seeds, steps=40)
    ax = bare(figure)
    for curve in result.loss / result.loss[:, :1]:
        colour = RED if curve[-1] > 1 else BLUE
        ax.semilogy(curve.tolist(), color=colour, linewidth=5)
    ax.axhline(1, color=PALE, linewidth=2)


def reading_the_mask(figure: Figure) -> None:
    """A gradient as a grid of coloured cells, with empty columns wherever dropout switched a unit
    off."""
    shared = make_round(data.photos("pagoda"), rate=0.5).shared
    first = shared.gradient["fc.weight"][:, :32]
    ax = bare(figure)
    ax.imshow(first.numpy(), cmap=SIGNS, vmin=-0.2, vmax=0.2, aspect="auto")


def no_iterations_at_all(figure: Figure) -> None:
    """Two pictures: nine small grey images of a cup, as they entered a hidden layer, and the cup of
    coffee in colour."""
    model, _, shared, _ = make_round(data.photos("coffee"))
    *_, second, first = closed_form.recover(model, shared).layers
    side_by_side(figure, [mosaic(second.u[0, :9]), first.u[0]])


def where_the_picture_lies(figure: Figure) -> None:
    """Fifteen cosine waves in shades of grey, from long and strong to short and weak."""
    axes = figure.subplots(3, 5, gridspec_kw={"wspace": 0.06, "hspace": 0.06})
    for row, column in np.ndindex(3, 5):
        coordinates = torch.zeros(1, 3, 32, 32)
        coordinates[0, :, row, column + (row == 0)] = 12.0
        wave = whitened.decode(coordinates)
        plots.images(wave, axes=[axes[row, column]])


def a_batch_comes_apart(figure: Figure) -> None:
    """Dots in three straight streaks, red, blue and pale, that fan out from one point."""
    _, _, shared, masks = make_round(data.photos("pagoda", "coffee"), rate=0.5)
    columns = shared.gradient["fc.weight"]
    plane = torch.linalg.svd(columns)[0][:, :2].T @ columns
    plane = plane * plane.sum(1, keepdim=True).sign()
    first, second = masks["dropout.mask"] > 0
    ax = bare(figure)
    for of, colour in ((first & second, PALE), (first & ~second, RED), (second & ~first, BLUE)):
        ax.plot(*plane[:, of], "o", color=colour, markersize=9)
    ax.plot(0, 0, "o", color=PALE, markersize=16)


def a_trained_network(figure: Figure) -> None:
    """Three pictures: a photograph of oranges, the same photograph again, and patches of glaring
    colour."""
    kept = trained_networks()
    model = models.lenet(classes=len(kept.names))
    model.load_state_dict(kept.weights["sigmoid"])
    fruit = kept.names.index("orange")
    x = kept.images[[fruit]]
    shared = du.share(model, du.Batch(x, torch.tensor([fruit])))
    solved = closed_form.recover(model, shared).x
    searched = du.invert(model, shared, attacks.idlg, steps=150).x
    side_by_side(figure, [x[0], solved[0], searched[0, 0]])


def real_rounds(figure: Figure) -> None:
    """Three pictures: a photograph of a cat, coloured noise, and the photograph again."""
    protocol = du.Protocol(steps=5, lr=0.01)
    generator = Generator().manual_seed(3)
    cat = data.photos("cat")
    model, secret, shared, _ = honest(models.lenet(), cat, generator, protocol=protocol)
    found = du.invert(model, shared, attacks.idlg, steps=100).x
    update = shared.gradient["fc.weight"].flatten()[: secret.x.numel()]
    mask = torch.randn(update.shape, generator=Generator().manual_seed(4))
    masked = 0.5 + (update + mask).view(secret.x.shape[1:]) / 4
    side_by_side(figure, [secret.x[0], masked.clamp(0, 1), found[0, 0]])


def what_protects(figure: Figure) -> None:
    """Three pictures: coloured noise, a blurred photograph of a cat, and plain grey."""
    model, secret, *_ = make_round(data.photos("cat"))

    def found(defense: Defense, attack: du.Attack, knows: bool = True) -> Tensor:
        sent = du.share(model, secret, Generator().manual_seed(4), defenses=[defense])
        if not knows:
            sent = replace(sent, protocol=du.Protocol(defenses=(defenses.unknown(),)))
        return du.invert(model, sent, attack, steps=150).x[0, 0]

    tenth, noise = defenses.top_k(0.1), defenses.noise(1e-2)
    weighed = weighing_noise(attacks.idlg, noise.sigma)
    naive = found(tenth, attacks.idlg, knows=False)
    side_by_side(figure, [naive, found(tenth, attacks.idlg), found(noise, weighed)])


def audit_your_model(figure: Figure) -> None:
    """Three pictures: a photograph of a cat, and the cat again, twice, a little blurred."""
    model, secret, shared, _ = make_round(data.photos("cat"))
    found = du.invert(model, shared, attacks.features, steps=100).x[0]
    noisy = du.share(model, secret, Generator().manual_seed(4), defenses=[defenses.noise(1e-4)])
    behind = du.invert(model, noisy, weighing_noise(attacks.idlg, 1e-4), steps=150).x[0, 0]
    side_by_side(figure, [secret.x[0], found[0], behind])


def house() -> Tensor:
    """A drawing of a house, (3, 32, 32)."""
    drawing = Image.new("RGB", (32, 32), PALE)
    pen = ImageDraw.Draw(drawing)
    pen.rectangle((8, 15, 23, 27), outline=GROUND, width=2)
    pen.line((4, 16, 15, 5, 16, 5, 27, 16), fill="#b3402a", width=3)
    pen.rectangle((13, 20, 18, 27), fill="#2f7ab8")
    pen.ellipse((24, 2, 30, 8), fill="#f2b632")
    pixels = torch.from_numpy(np.array(drawing))
    return pixels.permute(2, 0, 1) / 255


def lab(figure: Figure) -> None:
    """Three pictures: a drawing of a house, the same house blurred, and nearly as drawn, as an
    attack found it."""
    x = house()
    y = torch.tensor([0])
    frames = film(du.Batch(x[None], y))
    side_by_side(figure, [x, frames[4], frames[-1]])


PICTURES = {
    "01_what_a_gradient_gives_away": what_a_gradient_gives_away,
    "02_reading_the_label": reading_the_label,
    "03_the_dropout_defence": the_dropout_defence,
    "04_reading_the_mask": reading_the_mask,
    "05_no_iterations_at_all": no_iterations_at_all,
    "06_why_attacks_diverge": why_attacks_diverge,
    "07_where_the_picture_lies": where_the_picture_lies,
    "08_a_batch_comes_apart": a_batch_comes_apart,
    "09_a_trained_network": a_trained_network,
    "10_real_rounds": real_rounds,
    "11_what_protects": what_protects,
    "12_audit_your_model": audit_your_model,
    "lab": lab,
}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        figure = Figure(figsize=(12, 6.3), facecolor=GROUND)
        draw(figure)
        alt_text = " ".join(draw.__doc__.split())
        figure.savefig(FOLDER / f"{name}.png", dpi=100, metadata={"Description": alt_text})


if __name__ == "__main__":
    main()
