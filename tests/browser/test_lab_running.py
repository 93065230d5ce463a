"""A run of the lab: stopped, looked through, saved; and where the lab cannot run."""

import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.lab_page import (
    RECOVERED,
    TRUTH,
    caption,
    pixels,
    prepare_long_run,
    press,
    run,
    set_batch,
    set_rate,
    wait_for_the_end,
)


def test_lab_keeps_what_was_found_at_stop_and_a_new_run_begins_afresh(lab):
    prepare_long_run(lab)
    lab.get_by_role("button", name="Run", exact=True).click()
    expect(lab.locator("[aria-live]")).to_contain_text("evaluations a second", timeout=30_000)
    expect(lab.get_by_label("seed")).to_be_disabled()
    lab.get_by_role("button", name="Stop").click()
    expect(lab.locator("[aria-live]")).to_contain_text("Stopped after")
    lab.get_by_label("evaluations", exact=True).fill("30")
    run(lab)
    assert "Done after 30 evaluations" in caption(lab)


def test_lab_keeps_results_side_by_side(lab):
    """With their settings, also what a stopped run has found; and lets the reader remove them."""
    kept = lab.locator(".dlg-kept li")
    set_rate(lab, 0.5)
    run(lab)
    press(lab, "Keep this result")
    expect(kept).to_have_count(1)
    expect(kept).to_contain_text(": cat, dropout 0.5, iDLG, seed 0: RMSE")
    expect(lab.get_by_role("status")).to_contain_text("kept. You have kept 1 in all.")
    prepare_long_run(lab)
    press(lab, "Run")
    expect(lab.locator("[aria-live]")).to_contain_text("evaluations a second", timeout=30_000)
    press(lab, "Stop")
    press(lab, "Keep this result")
    second = 4  # after the client's picture, the attacker's, the mask, and the first result
    assert (pixels(lab, RECOVERED) == pixels(lab, second)).all()
    assert not (pixels(lab, RECOVERED) == pixels(lab, second - 1)).all()
    for _ in range(2):
        lab.get_by_role("button", name="Remove").first.click()
    expect(kept).to_have_count(0)


PRESETS = {
    "No defence": (0, 0.1),
    "Dropout, naive attacker": (1, 1e6),
    "Dropout, mask read": (0, 0.1),
    "Pruning, naive attacker": (1, 1e6),
    "Pruning, defence known": (0, 0.1),
    "A batch of four": (0, 0.1),
    "A trained network": (0.1, 1e6),
    "Trained, by features": (0, 0.15),
}


@pytest.mark.parametrize("name", PRESETS)
def test_lab_runs_an_example_at_a_press(lab, name):
    least, most = PRESETS[name]
    button = lab.get_by_role("button", name=name, exact=True)
    button.press("Enter")
    assert least < wait_for_the_end(lab) < most
    expect(button).to_be_focused()


def test_lab_runs_a_surprise(lab):
    """Each is another one, and whatever is chosen, it runs."""
    settings = set()
    for _ in range(3):
        press(lab, "Surprise me")
        settings.add(lab.get_by_label("seed").input_value())
        expect(lab.locator("[aria-live]")).to_contain_text("evaluations a second", timeout=60_000)
        lab.get_by_role("button", name="Stop").evaluate("stop => stop.click()")  # if it goes on
        assert "could not run" not in caption(lab)
    assert len(settings) > 1


def test_lab_pairs_the_pictures_of_a_batch(lab):
    """What is found stands below what the client has, in the same order."""
    set_batch(lab, 4)
    assert run(lab) < 0.1
    truth, found = pixels(lab, TRUTH) / 255, pixels(lab, RECOVERED) / 255
    assert truth.shape == (32, 128, 3)
    errors = np.square(found - truth).reshape(32, 4, 32, 3).mean((0, 2, 3)) ** 0.5
    assert errors.max() < 0.1
    reported = [
        float(number) for number in re.findall(r"0\.\d+", caption(lab).split("RMSE")[1])[1:5]
    ]
    assert errors == pytest.approx(reported, abs=0.01)


def test_lab_fits_a_phone(lab):
    """With a batch of four and results kept: nothing is wider than the page."""
    page = lab.page
    page.set_viewport_size({"width": 390, "height": 844})
    set_batch(lab, 4)
    lab.get_by_label("evaluations", exact=True).fill("3")
    run(lab)
    press(lab, "Keep this result")
    wide = page.evaluate("document.documentElement.scrollWidth")
    inside = lab.evaluate("lab => lab.scrollWidth <= lab.clientWidth")
    page.set_viewport_size({"width": 1200, "height": 900})
    assert wide <= 390
    assert inside


def test_lab_keeps_the_place_of_the_keyboard(lab):
    """The button that is pressed is disabled, and the focus goes on to the one that comes next."""
    run_button = lab.get_by_role("button", name="Run", exact=True)
    stop = lab.get_by_role("button", name="Stop")
    prepare_long_run(lab)
    run_button.press("Enter")
    expect(stop).to_be_focused()
    stop.press("Enter")
    expect(run_button).to_be_focused()


def test_lab_does_not_show_a_number_that_cannot_be(lab):
    evaluations = lab.get_by_label("evaluations", exact=True)
    evaluations.fill("70")
    for impossible in ("9999", ""):
        evaluations.fill(impossible)
        evaluations.blur()
    shown = int(evaluations.input_value())
    run(lab)
    assert f"Done after {shown} evaluations" in caption(lab)


def test_lab_leaves_the_page_fluid(lab):
    """While a run goes on, the page draws its frames; without a worker it would draw none."""
    prepare_long_run(lab)
    lab.get_by_role("button", name="Run", exact=True).click()
    frames = lab.evaluate("""() => new Promise((resolve) => {
        let frames = 0;
        const count = () => { frames += 1; requestAnimationFrame(count); };
        requestAnimationFrame(count);
        setTimeout(() => resolve(frames), 2000);
    })""")
    lab.get_by_role("button", name="Stop").click()
    assert frames > 5


def test_lab_film_can_be_looked_through_and_saved(lab, tmp_path):
    run(lab)
    last = pixels(lab, RECOVERED)
    slider = lab.get_by_label("film")
    slider.press("Home")
    assert not (pixels(lab, RECOVERED) == last).all()
    assert (pixels(lab, RECOVERED) == 128).all()  # mid-grey, where it began
    assert caption(lab).startswith("0 evaluations, RMSE 0.167")
    curve = lab.locator(".dlg-curve")
    right_edge = curve.bounding_box()["width"] - 1
    curve.click(position={"x": right_edge, "y": 20})  # scrolls to it first
    assert (pixels(lab, RECOVERED) == last).all()
    slider.press("End")
    assert (pixels(lab, RECOVERED) == last).all()
    with lab.page.expect_download() as download:
        lab.get_by_role("button", name="Save the film").click()
    download.value.save_as(tmp_path / "film.png")
    assert download.value.suggested_filename == "film.png"
    with Image.open(tmp_path / "film.png") as film:
        assert film.size == (256, 256)
        assert film.n_frames == int(slider.get_attribute("max")) + 1 > 10
        film.seek(film.n_frames - 1)
        assert (np.asarray(film.convert("RGB"))[::8, ::8] == last).all()


def test_lab_has_names_for_all_that_the_reader_meets(lab):
    is_named = "control => [...control.labels].some(label => label.textContent.trim())"
    for control in lab.locator("input, select").all():
        assert control.evaluate(is_named)
    run(lab)
    for picture in lab.get_by_role("img").all():
        assert picture.get_attribute("aria-label")
    engine = lab.locator("label", has_text="engine")
    expect(engine).to_have_count(1)
    expect(engine).to_be_hidden()  # there is no kernel


def test_lab_explains_itself_in_a_browser_without_workers(browser, site):
    page = browser.new_page()
    page.add_init_script("delete window.Worker")
    page.goto(f"{site}notebooks/lab.html")
    lab = page.locator(".dlg-lab")
    expect(lab.locator("[aria-live]")).to_contain_text(
        "This browser has no Web Workers", timeout=60_000
    )
    expect(lab.get_by_role("button", name="Run", exact=True)).to_be_disabled()
    page.close()


def test_lab_explains_itself_in_an_old_browser(browser, site):
    page = browser.new_page()
    page.add_init_script("delete window.DecompressionStream")
    page.goto(f"{site}notebooks/lab.html")
    expect(page.locator("article")).to_contain_text(
        "This browser cannot show this control", timeout=60_000
    )
    page.close()


def test_lab_works_from_a_file(look, html):
    visit = look(f"{html.as_uri()}/", "notebooks/lab")
    assert run(visit.page.locator(".dlg-lab")) < 0.1
    assert visit.complaints == []
