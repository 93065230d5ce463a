"""The film's front end alone, in a real browser: what no page of the book happens to show, and how it moves."""

import base64
import json
import re
from dataclasses import replace

import pytest
import torch
from playwright.sync_api import expect

from dlgutils import attacks, data, invert, models, share, widgets

STAGE = """<!doctype html><meta charset="utf-8"><title>A film</title><style>{css}
html {{ background: {ground}; color: {ink}; font: 16px sans-serif }}</style>
<div style="{before}"></div><main></main><script type="module">
const unpacked = (value) => {{
  if (Array.isArray(value)) return value.map(unpacked);
  return value?.bytes === undefined ? value : new DataView(Uint8Array.from(atob(value.bytes), (c) => c.charCodeAt()).buffer);
}};
const state = {state};
for (const name of Object.keys(state)) state[name] = unpacked(state[name]);
const heard = [];
window.model = {{
  get: (name) => state[name],
  set: (name, value) => {{
    if (state[name] === value) return;
    state[name] = value;
    heard.filter(([names]) => names.split(" ").includes(`change:${{name}}`)).forEach(([, tell]) => tell());
  }},
  on: (names, tell) => heard.push([names, tell]),
  save_changes: () => {{}},
}};
const {{ default: widget }} = await import(URL.createObjectURL(new Blob([state._esm], {{ type: "text/javascript" }})));
await widget.render({{ model, el: document.querySelector("main") }});
</script>"""
LIGHT, DARK = ("white", "#222"), ("#121212", "#ddd")
CAT = data.photos("cat")


@pytest.fixture(scope="module")
def result():
    model = models.init_default(models.lenet(), torch.Generator().manual_seed(0))
    return invert(model, share(model, CAT), attacks.idlg, steps=40, frames=10)


@pytest.fixture
def stage(browser):
    """A function that puts a film on a page of its own; its page, on which no error was raised when the test ends."""
    pages, errors = [], []

    def stage(film, *, width=800, colours=LIGHT, before="", **context):
        page = browser.new_context(viewport={"width": width, "height": 900}, **context).new_page()
        pages.append(page)
        page.clock.install(time=0)
        page.clock.pause_at(1000)  # time stands still but for `wait`
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        names = [name for name in film.keys if not name.startswith("_") or name == "_esm"]
        state = json.dumps(
            {name: packed(getattr(film, name)) for name in names if name != "layout"},
            allow_nan=False,
        )
        look = dict(zip(("ground", "ink"), colours, strict=True), css=film._css, before=before)
        page.set_content(STAGE.format(state=state.replace("</", "<\\/"), **look))
        expect(page.locator("[aria-live]")).to_have_text(re.compile(r"\w"))
        return page

    yield stage
    for page in pages:
        page.context.close()
    assert errors == []


def packed(value):
    """A trait as JSON, bytes as base64."""
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    return [packed(v) for v in value] if isinstance(value, list | tuple) else value


def cursor(page):
    """Where the cursor stands, in per cent of the curve's width."""
    return float(page.locator(".dlg-cursor").get_attribute("x1").removesuffix("%"))


def point(page, share):
    """The middle of the curve's height, so far along its width."""
    box = page.locator(".dlg-curve rect").bounding_box()
    return box["x"] + share * box["width"], box["y"] + box["height"] / 2


def shown(page):
    """The frame, and the picture as it is painted."""
    return page.evaluate("[model.get('frame'), document.querySelector('canvas').toDataURL()]")


def wait(page, frames):
    """So much time as it takes to play so many frames."""
    page.clock.run_for(200 * frames)


# The curve


def test_the_cursor_follows_the_slider(stage, result):
    page = stage(widgets.film(result, CAT.x))
    assert cursor(page) == 100
    page.get_by_role("slider").press("Home")
    assert cursor(page) == 0
    page.get_by_role("slider").press("ArrowRight")
    assert 0 < cursor(page) < 50


def test_the_curve_says_what_it_shows(stage, result):
    page = stage(widgets.film({"here": result, "there": result}, CAT.x))
    page.get_by_role("slider").press("Home")
    curve = page.get_by_role(
        "img", name="curve of the RMSE, after 0 evaluations: 0.17, 40 evaluations: 0.0"
    )
    expect(curve).to_have_accessible_name(
        re.compile("the cursor is at 0 evaluations: 0.17; .* the other 1 of this film")
    )
    for words in ("RMSE", "evaluations (square-root scale)", "40", "0"):
        expect(curve.get_by_text(words, exact=True).first).to_be_visible()


def test_a_click_on_the_curve_moves_the_picture(stage, result):
    page = stage(widgets.film(result, CAT.x))
    last, picture = shown(page)
    page.mouse.click(*point(page, 0.5))
    frame, other = shown(page)
    assert 0 < frame < last
    assert other != picture
    assert (
        result.frame_steps[frame] == 10
    )  # a quarter of the evaluations, on a scale of square roots
    expect(page.locator("[aria-live]")).to_contain_text("iDLG, 10 evaluations")


def test_the_curve_can_be_dragged(stage, result):
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


def test_the_scene_that_is_chosen_stands_out(stage, result):
    page = stage(
        widgets.film(
            {"grey": result, "later": replace(result, frames=result.frames.roll(1, 0))}, CAT.x
        )
    )
    ways = page.locator(".dlg-curve g")
    assert ways.count() == 2
    before = page.locator(".dlg-now").inner_html()
    page.get_by_role("combobox").select_option("later")
    assert page.locator(".dlg-now").count() == 1
    assert page.locator(".dlg-now").inner_html() != before


def test_matching_losses_are_drawn_on_a_logarithmic_axis(stage, result):
    loss = torch.logspace(-0.5, -7.5, 40)[None]
    page = stage(widgets.film(replace(result, loss=loss)))
    expect(page.get_by_text("matching loss (logarithmic)")).to_be_visible()
    expect(page.get_by_text("1e-8", exact=True)).to_be_visible()
    page.mouse.click(*point(page, (20 / 40) ** 0.5))
    power = -0.5 - 7 * (result.frame_steps[shown(page)[0]].item() - 1) / 39
    height = float(page.locator(".dlg-dot").get_attribute("cy").removesuffix("%"))
    assert height == pytest.approx(100 * power / -8, abs=0.1)


def test_errors_start_from_zero_and_a_wild_one_does_not_flatten_the_others(stage, result):
    frames = result.frames.clone()
    frames[-1] = 1e6
    page = stage(widgets.film(replace(result, frames=frames), CAT.x))
    expect(page.get_by_text("≥ 0.25")).to_be_visible()
    assert page.locator(".dlg-dot").get_attribute("cy") == "0%"
    page.get_by_role("slider").press("Home")
    assert page.locator(".dlg-dot").get_attribute("cy").startswith("33.3")


def test_what_is_not_finite_leaves_a_gap(stage, result):
    frames = result.frames.clone()
    frames[5] = torch.nan
    page = stage(widgets.film(replace(result, frames=frames), CAT.x))
    whole = len(result.frames) - 1
    assert page.locator(".dlg-now line").count() == whole - 2
    page.evaluate("model.set('frame', 5)")
    expect(page.locator(".dlg-dot")).to_be_hidden()
    expect(page.get_by_role("img", name="the cursor is at 10 evaluations: none")).to_be_visible()


def test_a_film_of_one_frame_has_nothing_to_play_and_a_level_to_compare_with(stage, result):
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
def test_a_single_picture_without_any_evaluation_is_shown(stage, result, truth):
    only = replace(
        result, loss=torch.empty(1, 0), frames=result.frames[-1:], frame_steps=torch.tensor([0])
    )
    page = stage(widgets.film(only, truth))
    expect(page.locator("[aria-live]")).to_contain_text("iDLG, 0 evaluations")
    assert cursor(page) == 0


# Play


def test_play_goes_to_the_end_and_pause_stops(stage, result):
    page, last = stage(widgets.film(result, CAT.x)), len(result.frames) - 1
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
def test_who_touches_a_film_that_plays_stops_it(stage, result, touch):
    page = stage(widgets.film(result, CAT.x))
    page.get_by_role("button", name="Play").click()
    wait(page, 2)
    page.get_by_role("slider").press("Home") if touch == "slider" else page.mouse.click(
        *point(page, 0)
    )
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    wait(page, 2)
    assert shown(page)[0] == 0


def test_a_film_may_play_by_itself_once_when_it_comes_into_view(stage, result):
    page, last = (
        stage(widgets.film(result, CAT.x, play=True), before="height: 3000px"),
        len(result.frames) - 1,
    )
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


def test_a_film_that_plays_by_itself_can_be_paused(stage, result):
    page = stage(widgets.film(result, CAT.x, play=True))
    page.get_by_role("button", name="Pause").click()
    wait(page, 2)
    assert shown(page)[0] == 0


def test_nothing_moves_by_itself_for_who_wants_less_motion(stage, result):
    page, last = (
        stage(widgets.film(result, CAT.x, play=True), reduced_motion="reduce"),
        len(result.frames) - 1,
    )
    wait(page, 2)
    assert shown(page)[0] == last
    page.get_by_role("button", name="Play").click()
    wait(page, 2)
    assert shown(page)[0] == 2


# Looks

LUMINANCE = """element => {
    const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
    return [getComputedStyle(element).fill, getComputedStyle(document.documentElement).backgroundColor].map((colour) => {
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        const linear = [...context.getImageData(0, 0, 1, 1).data].map((v) => (v / 255) ** 2.2);
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    });
}"""


def contrast(element):
    low, high = sorted(element.evaluate(LUMINANCE))
    return (high + 0.05) / (low + 0.05)


def test_the_curve_is_seen_in_light_and_in_dark(stage, result):
    fills = []
    for colours in (LIGHT, DARK):
        page = stage(widgets.film(result, CAT.x), colours=colours)
        assert contrast(page.locator(".dlg-curve text").first) > 7
        assert contrast(page.locator(".dlg-dot")) > 3
        fills.append(page.locator(".dlg-dot").evaluate("dot => getComputedStyle(dot).fill"))
    assert fills[0] != fills[1]


@pytest.mark.parametrize("width", [320, 390])
def test_a_film_fits_a_telephone(stage, result, width):
    page = stage(
        widgets.film({"one of two long names": result, "the other": result}, CAT.x), width=width
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for word in page.locator(".dlg-curve text").all():
        box = word.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_a_kernel_may_move_the_film(stage, result):
    page = stage(widgets.film({"here": result, "there": result.run(0)}, CAT.x))
    page.evaluate("model.set('scene', 1); model.set('frame', 2)")
    expect(page.get_by_role("combobox")).to_have_value("there")
    expect(page.get_by_role("slider")).to_have_value("2")
    expect(page.locator("[aria-live]")).to_contain_text("there, ")
