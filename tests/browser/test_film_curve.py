"""The curve of a film, in a real browser: what no page of the book happens to show."""

import re
from dataclasses import replace

import pytest
import torch
from playwright.sync_api import expect

from dlgutils import data, widgets
from dlgutils.widgets.epochs import by_epoch
from tests.browser.stage import cursor, point, shown

CAT = data.photos("cat")


def test_film_cursor_follows_the_slider(stage, result):
    page = stage(widgets.film(result, CAT.x))
    assert cursor(page) == 100
    page.get_by_role("slider").press("Home")
    assert cursor(page) == 0
    page.get_by_role("slider").press("ArrowRight")
    assert 0 < cursor(page) < 50


def test_film_curve_has_a_description(stage, result):
    page = stage(widgets.film({"here": result, "there": result}, CAT.x))
    page.get_by_role("slider").press("Home")
    name = "curve of the RMSE, after 0 evaluations: 0.17, 40 evaluations: 0.0"
    rest = re.compile("the cursor is at 0 evaluations: 0.17; .* the other 1 of this film")
    curve = page.get_by_role("img", name=name)
    expect(curve).to_have_accessible_name(rest)
    for words in ("RMSE", "evaluations (square-root scale)", "40", "0"):
        expect(curve.get_by_text(words, exact=True).first).to_be_visible()


def test_film_curve_moves_the_picture_at_a_click(stage, result):
    page = stage(widgets.film(result, CAT.x))
    last, picture = shown(page)
    page.mouse.click(*point(page, 0.5))
    frame, other = shown(page)
    assert 0 < frame < last
    assert other != picture
    # a quarter of the evaluations, on a scale of square roots
    assert result.frame_steps[frame] == 10
    expect(page.locator("[aria-live]")).to_contain_text("iDLG, 10 evaluations")


def test_film_curve_can_be_dragged(stage, result):
    page = stage(widgets.film(result, CAT.x))
    page.mouse.move(*point(page, 1))
    page.mouse.down()
    page.mouse.move(*point(page, 0.3))
    assert shown(page)[0] == 3
    page.mouse.move(*point(page, -0.5))  # beyond its end
    assert shown(page)[0] == 0
    page.mouse.up()
    page.mouse.move(*point(page, 0.5))
    assert shown(page)[0] == 0


def test_film_curve_of_the_chosen_scene_stands_out(stage, result):
    later = replace(result, frames=result.frames.roll(1, 0))
    page = stage(widgets.film({"grey": result, "later": later}, CAT.x))
    ways = page.locator(".dlg-curve g")
    assert ways.count() == 2
    before = page.locator(".dlg-now").inner_html()
    page.get_by_role("combobox").select_option("later")
    assert page.locator(".dlg-now").count() == 1
    assert page.locator(".dlg-now").inner_html() != before


def test_film_curve_of_matching_losses_has_a_logarithmic_axis(stage, result):
    loss = torch.logspace(-0.5, -7.5, 40)[None]
    page = stage(widgets.film(replace(result, loss=loss)))
    expect(page.get_by_text("matching loss (logarithmic)")).to_be_visible()
    expect(page.get_by_text("1e-8", exact=True)).to_be_visible()
    page.mouse.click(*point(page, (20 / 40) ** 0.5))
    frame, _ = shown(page)
    evaluations = result.frame_steps[frame].item()
    power = -0.5 - 7 * (evaluations - 1) / 39
    height = float(page.locator(".dlg-dot").get_attribute("cy").removesuffix("%"))
    assert height == pytest.approx(100 * power / -8, abs=0.1)


def test_film_curve_starts_from_zero_and_a_wild_error_does_not_flatten_the_others(stage, result):
    frames = result.frames.clone()
    frames[-1] = 1e6
    page = stage(widgets.film(replace(result, frames=frames), CAT.x))
    expect(page.get_by_text("≥ 0.25")).to_be_visible()
    assert page.locator(".dlg-dot").get_attribute("cy") == "0%"
    page.get_by_role("slider").press("Home")
    assert page.locator(".dlg-dot").get_attribute("cy").startswith("33.3")


def test_film_curve_has_a_gap_where_an_error_is_not_finite(stage, result):
    frames = result.frames.clone()
    frames[5] = torch.nan
    page = stage(widgets.film(replace(result, frames=frames), CAT.x))
    whole = len(result.frames) - 1
    assert page.locator(".dlg-now line").count() == whole - 2
    page.evaluate("model.set('frame', 5)")
    expect(page.locator(".dlg-dot")).to_be_hidden()
    expect(page.get_by_role("img", name="the cursor is at 10 evaluations: none")).to_be_visible()


def test_film_of_one_frame_has_nothing_to_play_and_a_level_to_compare_with(stage, result):
    only = replace(result, frames=result.frames[-1:], frame_steps=torch.tensor([0]))
    page = stage(widgets.film({"searched": result, "solved": only}, CAT.x))
    page.get_by_role("combobox").select_option("solved")
    expect(page.get_by_role("button", name="Play")).to_be_disabled()
    expect(page.get_by_role("slider")).to_be_disabled()
    level = page.locator(".dlg-level.dlg-now line")
    assert [level.get_attribute(name) for name in ("x1", "x2")] == ["0%", "100%"]
    page.get_by_role("combobox").select_option("searched")
    expect(page.get_by_role("slider")).to_be_enabled()


@pytest.mark.parametrize("truth", [CAT.x, None], ids=["truth", "no truth"])
def test_film_shows_a_single_picture_without_any_evaluation(stage, result, truth):
    only = replace(
        result,
        loss=torch.empty(1, 0),
        frames=result.frames[-1:],
        frame_steps=torch.tensor([0]),
    )
    page = stage(widgets.film(only, truth))
    expect(page.locator("[aria-live]")).to_contain_text("iDLG, 0 evaluations")
    assert cursor(page) == 0


def test_film_of_epochs_counts_epochs(stage):
    pictures = {"search": torch.zeros(2, 3, 32, 32), "mean image": torch.full_like(CAT.x, 0.5)}
    epochs = {"search": (0, 30), "mean image": (0,)}
    page = stage(by_epoch(pictures, epochs, CAT.x[0]))
    curve = page.get_by_role("img", name="the cursor is at 30 epochs")
    expect(curve.get_by_text("epochs (square-root scale)", exact=True)).to_be_visible()
    page.get_by_label("attack").select_option("mean image")
    expect(page.locator("[aria-live]")).to_contain_text("mean image, 0 epochs, RMSE")
