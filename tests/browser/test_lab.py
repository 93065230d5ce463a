"""The lab as a reader without a kernel meets it: choose, run, see the picture appear. And what they may do wrong.

Slow (about two minutes): every photograph is attacked with and without dropout.
"""

import io
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from dlgutils import data
from tests.browser.conftest import choose

PIXELS = """(lab, which) => {
    const canvas = lab.querySelectorAll("canvas")[which];
    return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
}"""
TRUTH, RECOVERED = 0, 1
PHOTOS = data.class_names("photos")


@pytest.fixture(scope="module")
def visit(look, site):
    return look(site, "notebooks/lab")


@pytest.fixture
def lab(visit):
    """The lab, at rest and as it was opened."""
    lab = visit.page.locator(".dlg-lab")
    for name, value in (
        ("picture", "cat"),
        ("network's weights", "default"),
        ("noise on the gradient", "0"),
    ):
        choose(lab, name, value)
    set_rate(lab, 0)
    lab.get_by_label("seed").fill("0")
    lab.get_by_label("evaluations", exact=True).fill("60")
    choose(lab, "attack", "iDLG")
    return lab


def set_rate(lab, rate):
    slider = lab.get_by_label("dropout rate")
    slider.press("Home")
    for _ in range(round(10 * rate)):
        slider.press("ArrowRight")


def pixels(lab, which):
    """A picture of the lab, (32, 32, 3) bytes."""
    return np.array(lab.evaluate(PIXELS, which), dtype=np.uint8).reshape(32, 32, 4)[..., :3]


def said(lab):
    return lab.locator("[aria-live]").inner_text()


def run(lab):
    """Press Run, wait for the end; the RMSE that the lab reports."""
    lab.get_by_role("button", name="Run").click()
    expect(lab.locator("[aria-live]")).to_have_text(re.compile(r"^Done after"), timeout=120_000)
    return rmse_of(lab)


def rmse_of(lab):
    return float(re.search(r"RMSE ([\d.]+)", said(lab)).group(1))


def prepare_long_run(lab):
    """One that does not end while a test looks at it: Adam, for ever after new masks."""
    choose(lab, "attack", "iDLG, fresh masks")
    lab.get_by_label("evaluations", exact=True).fill("5000")


def words(lab):
    """What the pictures of label and mask say."""
    return " | ".join(lab.locator("figcaption").all_inner_texts())


def as_file(name, pixels):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(buffer, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": buffer.getvalue()}


def drop(lab, file):
    lab.locator("input[type=file]").set_input_files(file)


# Photographs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("photo", PHOTOS)
@pytest.mark.parametrize(("rate", "attack"), [(0, "iDLG"), (0.5, "iDLG, mask read")])
def test_the_photograph_appears(lab, photo, rate, attack):
    choose(lab, "picture", photo)
    set_rate(lab, rate)
    choose(lab, "attack", attack)
    assert run(lab) < 0.1
    difference = pixels(lab, RECOVERED) / 255 - pixels(lab, TRUTH) / 255
    assert np.sqrt(np.square(difference).mean()) < 0.1
    assert f"label read: {photo}, right" in words(lab)
    assert "768 of 768 right" in words(lab)


@pytest.mark.parametrize("attack", ["iDLG", "DLG", "iDLG, fresh masks"])
def test_naive_attackers_fail_against_dropout(lab, attack):
    set_rate(lab, 0.5)
    choose(lab, "attack", attack)
    assert run(lab) > 0.15  # plain grey has 0.167
    taken = (
        "drawn anew at every evaluation"
        if "fresh" in attack
        else r"all taken as kept: (3[3-9]\d|4[0-3]\d) of 768 right"
    )
    assert re.search(f"mask not read, {taken}", words(lab))


def test_dlg_finds_the_label_too(lab):
    choose(lab, "attack", "DLG")
    assert run(lab) < 0.1
    assert "not read: the attack optimises it" in words(lab)


def test_wide_weights_take_more_evaluations(lab):
    choose(lab, "network's weights", "wide")
    expect(lab.get_by_label("evaluations", exact=True)).to_have_value("300")
    assert run(lab) < 0.1


def test_noise_hides_the_picture_but_not_the_label(lab):
    choose(lab, "noise on the gradient", "0.001")
    assert run(lab) > 0.2
    assert "label read: cat, right" in words(lab)


READ = "iDLG, mask read"
TOLD = [  # what the page's text says of the cat: attack, rate, noise, weights, evaluations, and the RMSE after some of them
    ("iDLG", 0, "0", "default", 100, {11: 0.05, 100: 0.008}),
    (READ, 0.5, "0", "default", 100, {100: 0.008}),
    (READ, 0.9, "0", "default", 100, {100: 0.010}),
    ("DLG", 0, "0", "default", 100, {21: 0.055}),
    ("iDLG", 0, "0", "wide", 300, {19: 0.10, 300: 0.008}),
    ("iDLG", 0, "0.00001", "default", 100, {100: 0.022}),
    ("iDLG", 0, "0.0001", "default", 100, {14: 0.055, 100: 0.23}),
    ("iDLG", 0, "0.001", "default", 100, {100: 3}),
    ("iDLG", 0.5, "0", "default", 100, {100: 65}),
    ("iDLG, fresh masks", 0.5, "0", "default", 100, {100: 0.8}),
]


@pytest.mark.parametrize(("attack", "rate", "noise", "weights", "steps", "told"), TOLD)
def test_what_the_text_says_is_what_the_reader_sees(lab, attack, rate, noise, weights, steps, told):
    """To a third: rounding differs between browsers, and a long run makes it large."""
    set_rate(lab, rate)
    for name, value in (
        ("noise on the gradient", noise),
        ("network's weights", weights),
        ("attack", attack),
    ):
        choose(lab, name, value)
    lab.get_by_label("evaluations", exact=True).fill(str(steps))
    run(lab)
    slider = lab.get_by_label("film")
    for evaluations, rmse in told.items():
        slider.press("End")
        while not re.match(rf"(Done after )?{evaluations} evaluations", said(lab)):
            assert slider.input_value() != "0", (
                f"the film has no frame at {evaluations} evaluations"
            )
            slider.press("ArrowLeft")
        assert rmse_of(lab) == pytest.approx(rmse, rel=0.34)


def test_another_seed_is_another_network(lab):
    run(lab)
    first = pixels(lab, RECOVERED)
    lab.get_by_label("seed").fill("1")
    assert run(lab) < 0.1
    assert not (pixels(lab, RECOVERED) == first).all()


def test_nothing_leaves_the_page(lab, visit, site):
    before = list(visit.requests)
    run(lab)
    later = visit.requests[len(before) :]
    assert [url for url in later if not url.startswith(("blob:", "data:"))] == []
    assert visit.foreign(site) == []
    assert visit.complaints == []


# The reader's own pictures ---------------------------------------------------------------------------------------


def test_a_picture_of_the_readers_own(lab):
    i, j, k = np.ogrid[:90, :120, :3]
    drop(lab, as_file("stripes.png", 255 * ((i // 15 + j // 20 * k) % 2)))
    expect(lab.locator("[aria-live]")).to_contain_text("stripes.png, 120 × 90 pixels")
    expect(lab.get_by_role("combobox", name="picture", exact=True)).to_have_value("")
    choose(lab, "its label", "rocket")
    lab.get_by_label("evaluations", exact=True).fill("150")
    assert run(lab) < 0.1
    assert "label read: rocket, right" in words(lab)


def test_a_drawing(lab):
    lab.get_by_role("button", name="Draw").click()
    assert (pixels(lab, TRUTH) == 255).all()
    lab.locator("canvas").first.scroll_into_view_if_needed()
    box = lab.locator("canvas").first.bounding_box()
    mouse = lab.page.mouse
    mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.2)
    mouse.down()
    mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.7, steps=8)
    mouse.up()
    assert 0.03 < (pixels(lab, TRUTH) < 200).any(-1).mean() < 0.3
    assert run(lab) < 0.1


@pytest.mark.parametrize(
    ("name", "picture", "expected"),
    [
        ("clear.png", np.zeros((40, 40, 4)), 255),
        ("grey.png", np.full((40, 40), 128), 128),
        ("dot.png", np.full((3, 2, 3), 77), 77),
        ("panorama.png", np.full((33, 4000, 3), 200), 200),
    ],
)
def test_a_picture_of_any_shape_is_taken(lab, name, picture, expected):
    drop(lab, as_file(name, picture))
    expect(lab.locator("[aria-live]")).to_contain_text(
        f"{name}, {picture.shape[1]} × {picture.shape[0]} pixels"
    )
    assert np.abs(pixels(lab, TRUTH).astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        (
            {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"},
            "notes.txt is no picture",
        ),
        (
            {"name": "broken.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\n"},
            "broken.png is no picture",
        ),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_a_file_that_is_no_picture_is_refused_and_nothing_is_lost(lab, file, wanted):
    before = pixels(lab, TRUTH)
    drop(lab, file)
    expect(lab.locator("[aria-live]")).to_contain_text(wanted)
    assert (pixels(lab, TRUTH) == before).all()
    assert run(lab) < 0.1


def test_a_huge_file_is_refused_before_it_is_read(lab):
    lab.locator("input[type=file]").evaluate("""(input) => {
        const carried = new DataTransfer();
        carried.items.add(new File([new Uint8Array(41e6)], "huge.png"));
        input.files = carried.files;
        input.dispatchEvent(new Event("change"));
    }""")
    expect(lab.locator("[aria-live]")).to_contain_text(
        "huge.png has 41 MB; choose a picture of at most 40 MB"
    )


# Running ---------------------------------------------------------------------------------------------------------


def test_stop_keeps_what_was_found_and_a_new_run_begins_afresh(lab):
    prepare_long_run(lab)
    lab.get_by_role("button", name="Run").click()
    expect(lab.locator("[aria-live]")).to_contain_text("evaluations a second", timeout=30_000)
    expect(lab.get_by_label("seed")).to_be_disabled()
    lab.get_by_role("button", name="Stop").click()
    expect(lab.locator("[aria-live]")).to_contain_text("Stopped after")
    lab.get_by_label("evaluations", exact=True).fill("30")
    run(lab)
    assert "Done after 30 evaluations" in said(lab)


def test_the_keyboard_keeps_its_place(lab):
    """The button that is pressed is disabled, and the focus goes on to the one that comes next."""
    run_button, stop = (lab.get_by_role("button", name=name) for name in ("Run", "Stop"))
    prepare_long_run(lab)
    run_button.press("Enter")
    expect(stop).to_be_focused()
    stop.press("Enter")
    expect(run_button).to_be_focused()


def test_a_number_that_cannot_be_is_not_shown(lab):
    evaluations = lab.get_by_label("evaluations", exact=True)
    evaluations.fill("70")
    for impossible in ("9999", ""):
        evaluations.fill(impossible)
        evaluations.blur()
    shown = int(evaluations.input_value())
    run(lab)
    assert f"Done after {shown} evaluations" in said(lab)


def test_the_same_file_can_be_chosen_again(lab):
    dot = as_file("dot.png", np.full((3, 2, 3), 77))
    drop(lab, dot)
    expect(lab.locator("[aria-live]")).to_contain_text("dot.png")
    choose(lab, "picture", "coffee")
    drop(lab, dot)
    expect(lab.get_by_role("combobox", name="picture", exact=True)).to_have_value("")
    assert (pixels(lab, TRUTH) == 77).all()


def test_the_page_stays_fluid(lab):
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


def test_the_film_can_be_looked_through_and_saved(lab, tmp_path):
    run(lab)
    last = pixels(lab, RECOVERED)
    slider = lab.get_by_label("film")
    slider.press("Home")
    assert not (pixels(lab, RECOVERED) == last).all()
    assert (pixels(lab, RECOVERED) == 128).all()  # mid-grey, where it began
    assert said(lab).startswith("0 evaluations, RMSE 0.167")
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


def test_what_the_reader_meets_has_names(lab):
    for control in lab.locator("input, select").all():
        assert control.evaluate(
            "control => [...control.labels].some(label => label.textContent.trim())"
        )
    run(lab)
    for picture in lab.get_by_role("img").all():
        assert picture.get_attribute("aria-label")
    engine = lab.locator("label", has_text="engine")
    expect(engine).to_have_count(1)
    expect(engine).to_be_hidden()  # there is no kernel


def test_a_browser_without_workers_is_told_so(browser, site):
    page = browser.new_page()
    page.add_init_script("delete window.Worker")
    page.goto(f"{site}notebooks/lab.html")
    lab = page.locator(".dlg-lab")
    expect(lab.locator("[aria-live]")).to_contain_text(
        "This browser has no Web Workers", timeout=60_000
    )
    expect(lab.get_by_role("button", name="Run")).to_be_disabled()
    page.close()


def test_an_old_browser_is_told_so(browser, site):
    page = browser.new_page()
    page.add_init_script("delete window.DecompressionStream")
    page.goto(f"{site}notebooks/lab.html")
    expect(page.locator("article")).to_contain_text(
        "This browser cannot show this control", timeout=60_000
    )
    page.close()


def test_it_works_from_a_file(look, html):
    visit = look(f"{html.as_uri()}/", "notebooks/lab")
    assert run(visit.page.locator(".dlg-lab")) < 0.1
    assert visit.complaints == []
