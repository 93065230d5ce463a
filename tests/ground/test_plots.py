"""Pictures: drawn where they were asked for, returned, never shown."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from dlgutils import Result, attacks, data, invert, metrics, plots


def losses(results, **ax):
    """`plots.losses` of any results."""
    return plots.losses(results, **ax)


def rmse(results, **ax):
    """`plots.rmse` of any results, against a black image."""
    black = torch.zeros(1, 1, 8, 8).double()
    return plots.rmse(results, black, **ax)


curves = pytest.mark.parametrize("draw", [losses, rmse], ids=["losses", "rmse"])


@pytest.fixture(autouse=True)
def canvas(monkeypatch):
    """No window, no figure left over, and an error for a function that shows one."""

    def show(*_, **__):
        raise AssertionError("a library does not show figures")

    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", show)
    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before
    plt.close("all")


@pytest.fixture(scope="module")
def results(tiny):
    """Three runs each of iDLG and DLG, by name."""
    model, _, shared, _ = tiny()
    return {
        "iDLG": invert(model, [shared] * 3, attacks.idlg, steps=9),
        "DLG": invert(model, [shared] * 3, attacks.dlg, steps=9),
    }


def test_images_are_one_picture_each():
    batch = data.photos("cat", "coffee", "rocket")
    names = data.class_names("photos")
    axes = plots.images(batch.x, names)
    assert len(axes) == len(axes[0].figure.axes) == 3
    assert [ax.get_title() for ax in axes] == list(names[:3])
    shown = axes[1].images[0].get_array()
    assert np.allclose(shown, batch.x[1].permute(1, 2, 0))


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (data.fashion().x[:1], (28, 28)),
        (data.photos("cat").x, (32, 32, 3)),
    ],
)
def test_images_are_grey_or_in_colour(x, shape):
    (ax,) = plots.images(x)
    assert ax.images[0].get_array().shape == shape
    assert ax.images[0].get_clim() == (0, 1)


def test_images_take_several_rows_when_they_are_many():
    axes = plots.images(data.photos().x[:9])
    assert len(axes) == len(axes[0].figure.axes) == 9
    rows = [ax.get_subplotspec().rowspan.start for ax in axes]
    assert rows == [0] * 5 + [1] * 4


def test_images_are_clipped_for_the_screen_only():
    x = torch.tensor([[-3.0, 0.5], [1.0, 7.0]])[None, None]
    (ax,) = plots.images(x)
    assert ax.images[0].get_array().tolist() == [[0, 0.5], [1, 1]]
    assert x.max() == 7


def test_images_are_drawn_on_the_axes_given():
    _, given = plt.subplots(1, 2)
    x = data.photos("cat", "coffee").x
    assert list(plots.images(x, axes=given)) == list(given)
    assert len(plt.get_fignums()) == 1


def test_images_take_one_axes():
    _, given = plt.subplots()
    assert list(plots.images(data.photos("cat").x, axes=given)) == [given]


def test_images_need_as_many_axes():
    x = data.photos("cat", "coffee").x
    _, one = plt.subplots()
    with pytest.raises(ValueError, match=r"shorter|longer"):
        plots.images(x, axes=[one])


@pytest.mark.parametrize(("most", "pictures"), [(4, 4), (99, 10), (1, 1)])
def test_film_has_at_most_so_many_pictures(results, most, pictures):
    result = results["iDLG"]
    axes = plots.film(result, most=most)
    assert len(axes) == pictures == min(most, len(result.frames))


def test_film_goes_from_the_first_frame_to_the_last(results):
    result = results["iDLG"]
    axes = plots.film(result, run=1, most=3)
    assert (axes[0].get_title(), axes[-1].get_title()) == ("0", "9")
    last = result.frames[-1, 1, 0, 0].clamp(0, 1)
    shown = axes[-1].images[0].get_array()
    assert np.allclose(shown, last)


@curves
def test_curves_are_drawn_on_new_axes_or_those_given(draw, results):
    _, given = plt.subplots()
    assert draw(results, ax=given) is given
    assert draw(results) is not given
    assert len(plt.get_fignums()) == 2


@curves
def test_curves_have_a_legend_labels_and_a_log_scale(draw, results):
    ax = draw(results)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["iDLG", "DLG"]
    assert (ax.get_xlabel(), ax.get_yscale()) == ("evaluations", "log")
    assert ax.get_ylabel()


def test_losses_are_the_median_of_the_lowest_so_far():
    loss = [
        [4.0, 9.0, 1.0],
        [5.0, torch.nan, 3.0],
        [6.0, 2.0, torch.inf],
    ]
    frames = torch.zeros(1, 3, 1, 1, 2, 2)
    result = Result(
        x=frames[0],
        y=torch.zeros(3, 1),
        loss=torch.tensor(loss),
        frames=frames,
        frame_steps=torch.tensor([0]),
    )
    (line,) = plots.losses({"mine": result}).lines
    assert line.get_xydata().tolist() == [[1, 5], [2, 4], [3, 2]]


def test_rmse_scores_the_film(results, tiny):
    truth = tiny().secret.x
    result = results["iDLG"]
    ax = plots.rmse({"iDLG": result}, truth, baseline=0.25)
    curve = ax.lines[0]
    scores = metrics.rmse(result.frames[:, 0, 0], truth[0])
    assert np.allclose(curve.get_xdata(), result.frame_steps)
    assert np.allclose(curve.get_ydata(), scores)
    assert [line.get_label() for line in ax.lines] == ["iDLG", "mean image"]


@curves
def test_curves_can_be_put_on_a_canvas(draw, results):
    draw(results).figure.canvas.draw()


def test_gradient_is_a_square_of_ranks():
    tensors = {"weight": torch.tensor([[3.0, 1.0], [2.0, 4.0]]), "bias": torch.tensor([5.0])}
    shown = plots.gradient(tensors).images[0].get_array()
    assert np.allclose(shown, [[2 / 3, 0], [1 / 3, 1]])


def test_federated_round_shows_the_photograph_and_the_gradient():
    cat = data.photos("cat")
    tensors = {"weight": torch.arange(100.0)}
    ax = plots.federated_round(cat.x, tensors)
    pictures = [inset.images[0].get_array() for inset in ax.child_axes]
    assert sorted(picture.shape for picture in pictures) == [(10, 10), (32, 32, 3)]
    words = " ".join(text.get_text() for text in ax.texts)
    assert "weights θ" in words
    assert "gradient g" in words


@pytest.mark.parametrize(
    "x", [torch.rand(3, 8, 8), torch.rand(2, 1, 3, 8, 8), torch.rand(0, 3, 8, 8)]
)
def test_images_say_which_shape_they_have(x):
    with pytest.raises(ValueError, match=r"\(n, channels, height, width\), got \(.*x\[None\]"):
        plots.images(x)


def test_images_may_be_in_half_precision():
    assert len(plots.images(torch.rand(2, 3, 8, 8).bfloat16())) == 2
