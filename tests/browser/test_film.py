"""The film's front end alone, in a real browser: how it moves, and how it looks."""

import pytest
from playwright.sync_api import expect

from dlgutils import data, widgets
from tests.browser.stage import point, shown

LIGHT = ("white", "#222")
DARK = ("#121212", "#ddd")
CAT = data.photos("cat")


def wait(page, frames):
    """So much time as it takes to play so many frames."""
    page.clock.run_for(200 * frames)


# Play


def test_film_plays_to_the_end_and_stops_at_pause(stage, result):
    page = stage(widgets.film(result, CAT.x))
    last = len(result.frames) - 1
    page.get_by_role("button", name="Play").click()
    assert shown(page)[0] == 0
    wait(page, 2)
    assert shown(page)[0] == 2
    expect(page.locator("[aria-live]")).to_have_attribute("aria-live", "off")
    page.get_by_role("button", name="Pause").click()
    wait(page, 3)
    assert shown(page)[0] == 2
    page.get_by_role("button", name="Play").click()
    wait(page, last)
    assert shown(page)[0] == last
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    expect(page.locator("[aria-live]")).to_have_attribute("aria-live", "polite")


@pytest.mark.parametrize("touch", ["slider", "curve"])
def test_film_that_plays_stops_at_a_touch(stage, result, touch):
    page = stage(widgets.film(result, CAT.x))
    page.get_by_role("button", name="Play").click()
    wait(page, 2)
    if touch == "slider":
        page.get_by_role("slider").press("Home")
    else:
        page.mouse.click(*point(page, 0))
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    wait(page, 2)
    assert shown(page)[0] == 0


def test_film_may_play_by_itself_once_when_it_comes_into_view(stage, result):
    page = stage(widgets.film(result, CAT.x, play=True), before="height: 3000px")
    last = len(result.frames) - 1
    wait(page, 2)
    assert shown(page)[0] == 0
    picture = page.locator("canvas").first
    picture.scroll_into_view_if_needed()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    wait(page, last + 1)
    assert shown(page)[0] == last
    page.mouse.wheel(0, -3000)
    expect(picture).not_to_be_in_viewport()
    picture.scroll_into_view_if_needed()
    expect(picture).to_be_in_viewport()
    wait(page, 2)
    assert shown(page)[0] == last


def test_film_that_plays_by_itself_can_be_paused(stage, result):
    page = stage(widgets.film(result, CAT.x, play=True))
    page.get_by_role("button", name="Pause").click()
    wait(page, 2)
    assert shown(page)[0] == 0


def test_film_does_not_move_by_itself_for_readers_who_want_less_motion(stage, result):
    page = stage(widgets.film(result, CAT.x, play=True), reduced_motion="reduce")
    last = len(result.frames) - 1
    wait(page, 2)
    assert shown(page)[0] == last
    page.get_by_role("button", name="Play").click()
    wait(page, 2)
    assert shown(page)[0] == 2


# Looks

LUMINANCE = """element => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
    const context = canvas.getContext("2d");
    const ground = getComputedStyle(document.documentElement).backgroundColor;
    return [getComputedStyle(element).fill, ground].map((colour) => {
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        const linear = [...context.getImageData(0, 0, 1, 1).data].map((v) => (v / 255) ** 2.2);
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    });
}"""


def contrast(element):
    low, high = sorted(element.evaluate(LUMINANCE))
    return (high + 0.05) / (low + 0.05)


def test_film_curve_is_seen_in_light_and_in_dark(stage, result):
    fills = []
    for colours in (LIGHT, DARK):
        page = stage(widgets.film(result, CAT.x), colours=colours)
        assert contrast(page.locator(".dlg-curve text").first) > 7
        assert contrast(page.locator(".dlg-dot")) > 3
        fills.append(page.locator(".dlg-dot").evaluate("dot => getComputedStyle(dot).fill"))
    assert fills[0] != fills[1]


@pytest.mark.parametrize("width", [320, 390])
def test_film_fits_a_phone(stage, result, width):
    film = widgets.film({"one of two long names": result, "the other": result}, CAT.x)
    page = stage(film, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for word in page.locator(".dlg-curve text").all():
        box = word.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_film_can_be_moved_by_a_kernel(stage, result):
    page = stage(widgets.film({"here": result, "there": result.run(0)}, CAT.x))
    page.evaluate("model.set('scene', 1); model.set('frame', 2)")
    expect(page.get_by_role("combobox")).to_have_value("there")
    expect(page.get_by_role("slider")).to_have_value("2")
    expect(page.locator("[aria-live]")).to_contain_text("there, ")
