"""Pictures: drawn where they were asked for, returned, never shown."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from dlgutils import Result, attacks, data, invert, metrics, plots

CURVES = {
    "losses": lambda results, **ax: plots.losses(results, **ax),
    "rmse": lambda results, **ax: plots.rmse(results, torch.zeros(1, 1, 8, 8).double(), **ax),
}
curves = pytest.mark.parametrize("draw", CURVES.values(), ids=CURVES)


@pytest.fixture(autouse=True)
def canvas(monkeypatch):
    """No window, no figure left over, and an error for who shows one."""

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
    model, _, shared, *_ = tiny()
    return {a.name: invert(model, [shared] * 3, a, steps=9) for a in (attacks.idlg, attacks.dlg)}


def test_a_row_has_one_picture_per_image():
    batch = data.photos("cat", "coffee", "rocket")
    axes = plots.images(batch.x, data.class_names("photos"))
    assert len(axes) == len(axes[0].figure.axes) == 3
    assert [ax.get_title() for ax in axes] == list(data.class_names("photos")[:3])
    assert np.allclose(axes[1].images[0].get_array(), batch.x[1].permute(1, 2, 0))


@pytest.mark.parametrize(
    ("x", "shape"), [(data.fashion().x[:1], (28, 28)), (data.photos("cat").x, (32, 32, 3))]
)
def test_a_row_of_one_grey_or_colour(x, shape):
    (ax,) = plots.images(x)
    assert ax.images[0].get_array().shape == shape
    assert ax.images[0].get_clim() == (0, 1)


def test_many_pictures_take_several_rows():
    axes = plots.images(data.photos().x[:9])
    assert len(axes) == len(axes[0].figure.axes) == 9
    assert [ax.get_subplotspec().rowspan.start for ax in axes] == [0] * 5 + [1] * 4


def test_pictures_are_clipped_for_the_screen_only():
    x = torch.tensor([[-3.0, 0.5], [1.0, 7.0]])[None, None]
    (ax,) = plots.images(x)
    assert ax.images[0].get_array().tolist() == [[0, 0.5], [1, 1]]
    assert x.max() == 7


def test_a_row_draws_on_the_axes_given():
    _, given = plt.subplots(1, 2)
    assert list(plots.images(data.photos("cat", "coffee").x, axes=given)) == list(given)
    assert len(plt.get_fignums()) == 1


def test_a_row_takes_one_axes():
    _, given = plt.subplots()
    assert list(plots.images(data.photos("cat").x, axes=given)) == [given]


def test_too_few_axes_are_an_error():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        plots.images(data.photos("cat", "coffee").x, axes=[plt.subplots()[1]])


@pytest.mark.parametrize(("most", "pictures"), [(4, 4), (99, 10), (1, 1)])
def test_a_film_strip_has_at_most_so_many_pictures(results, most, pictures):
    assert (
        len(plots.film(results["iDLG"], most=most))
        == pictures
        == min(most, len(results["iDLG"].frames))
    )


def test_a_film_strip_goes_from_the_first_frame_to_the_last(results):
    result = results["iDLG"]
    axes = plots.film(result, run=1, most=3)
    assert (axes[0].get_title(), axes[-1].get_title()) == ("0", "9")
    assert np.allclose(axes[-1].images[0].get_array(), result.frames[-1, 1, 0, 0].clamp(0, 1))


@curves
def test_curves_draw_on_new_axes_or_those_given(draw, results):
    _, given = plt.subplots()
    assert draw(results, ax=given) is given
    assert draw(results) is not given
    assert len(plt.get_fignums()) == 2


@curves
def test_curves_have_a_legend_labels_and_a_log_scale(draw, results):
    ax = draw(results)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["iDLG", "DLG"]
    assert (ax.get_xlabel(), ax.get_yscale()) == ("evaluations", "log")
    assert ax.get_ylabel()


def test_the_loss_curve_is_the_median_of_the_lowest_so_far():
    loss = torch.tensor([[4.0, 9.0, 1.0], [5.0, torch.nan, 3.0], [6.0, 2.0, torch.inf]])
    frames = torch.zeros(1, 3, 1, 1, 2, 2)
    (line,) = plots.losses(
        {"mine": Result(frames[0], torch.zeros(3, 1), loss, frames, torch.tensor([0]))}
    ).lines
    assert line.get_xydata().tolist() == [[1, 5], [2, 4], [3, 2]]


def test_the_rmse_curve_scores_the_film(results, tiny):
    truth, result = tiny().batch.x, results["iDLG"]
    ax = plots.rmse({"iDLG": result}, truth, baseline=0.25)
    assert np.allclose(ax.lines[0].get_xdata(), result.frame_steps)
    assert np.allclose(ax.lines[0].get_ydata(), metrics.rmse(result.frames[:, 0, 0], truth[0]))
    assert [line.get_label() for line in ax.lines] == ["iDLG", "mean image"]


@curves
def test_a_figure_can_be_drawn(draw, results):
    draw(results).figure.canvas.draw()
