"""A run of the lab: stopped, looked through, saved; and where the lab cannot run."""

import numpy as np
from PIL import Image
from playwright.sync_api import expect

from tests.browser.lab_page import RECOVERED, caption, pixels, prepare_long_run, run


def test_lab_keeps_what_was_found_at_stop_and_a_new_run_begins_afresh(lab):
    prepare_long_run(lab)
    lab.get_by_role("button", name="Run").click()
    expect(lab.locator("[aria-live]")).to_contain_text("evaluations a second", timeout=30_000)
    expect(lab.get_by_label("seed")).to_be_disabled()
    lab.get_by_role("button", name="Stop").click()
    expect(lab.locator("[aria-live]")).to_contain_text("Stopped after")
    lab.get_by_label("evaluations", exact=True).fill("30")
    run(lab)
    assert "Done after 30 evaluations" in caption(lab)


def test_lab_keeps_the_place_of_the_keyboard(lab):
    """The button that is pressed is disabled, and the focus goes on to the one that comes next."""
    run_button = lab.get_by_role("button", name="Run")
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
    lab.get_by_role("button", name="Run").click()
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
    left_edge = lab.locator(".dlg-curve").bounding_box()
    lab.page.mouse.click(left_edge["x"] + left_edge["width"] - 1, left_edge["y"] + 20)
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
    expect(lab.get_by_role("button", name="Run")).to_be_disabled()
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
