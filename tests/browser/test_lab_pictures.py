"""The reader's own pictures in the lab: files and drawings, and what is not a picture."""

import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.lab_page import TRUTH, choose, pixels, run, words


def as_file(name, pixels):
    buffer = io.BytesIO()
    image = Image.fromarray(np.asarray(pixels, dtype=np.uint8))
    image.save(buffer, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": buffer.getvalue()}


def drop(lab, file):
    lab.locator("input[type=file]").set_input_files(file)


def test_lab_takes_a_picture_of_the_readers_own(lab):
    i, j, k = np.ogrid[:90, :120, :3]
    drop(lab, as_file("stripes.png", 255 * ((i // 15 + j // 20 * k) % 2)))
    expect(lab.locator("[aria-live]")).to_contain_text("stripes.png, 120 × 90 pixels")
    expect(lab.get_by_role("combobox", name="picture", exact=True)).to_have_value("")
    choose(lab, "class the client reports", "rocket")
    lab.get_by_label("evaluations", exact=True).fill("150")
    assert run(lab) < 0.1
    assert "label read: rocket, right" in words(lab)


def test_lab_takes_a_drawing(lab):
    lab.get_by_role("button", name="Draw").click()
    assert (pixels(lab, TRUTH) == 255).all()
    lab.locator("canvas").first.scroll_into_view_if_needed()
    box = lab.locator("canvas").first.bounding_box()
    mouse = lab.page.mouse
    left, top, width, height = (box[name] for name in ("x", "y", "width", "height"))
    mouse.move(left + 0.2 * width, top + 0.2 * height)
    mouse.down()
    mouse.move(left + 0.8 * width, top + 0.7 * height, steps=8)
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
def test_lab_takes_a_picture_of_any_shape(lab, name, picture, expected):
    drop(lab, as_file(name, picture))
    height, width = picture.shape[:2]
    expect(lab.locator("[aria-live]")).to_contain_text(f"{name}, {width} × {height} pixels")
    difference = pixels(lab, TRUTH).astype(int) - expected
    assert np.abs(difference).max() <= 1


NOT_PICTURES = [
    {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"},
    {"name": "broken.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\n"},
]


@pytest.mark.parametrize("file", NOT_PICTURES, ids=lambda file: file["name"])
def test_lab_refuses_a_file_that_is_not_a_picture_and_loses_nothing(lab, file):
    before = pixels(lab, TRUTH)
    drop(lab, file)
    expect(lab.locator("[aria-live]")).to_contain_text(f"cannot open {file['name']} as a picture")
    assert (pixels(lab, TRUTH) == before).all()
    assert run(lab) < 0.1


def test_lab_refuses_a_huge_file_before_it_is_read(lab):
    lab.locator("input[type=file]").evaluate("""(input) => {
        const carried = new DataTransfer();
        carried.items.add(new File([new Uint8Array(41e6)], "huge.png"));
        input.files = carried.files;
        input.dispatchEvent(new Event("change"));
    }""")
    expect(lab.locator("[aria-live]")).to_contain_text(
        "huge.png is 41 MB large; choose a picture of at most 40 MB"
    )


def test_lab_takes_the_same_file_again(lab):
    dot = as_file("dot.png", np.full((3, 2, 3), 77))
    drop(lab, dot)
    expect(lab.locator("[aria-live]")).to_contain_text("dot.png")
    choose(lab, "picture", "coffee")
    drop(lab, dot)
    expect(lab.get_by_role("combobox", name="picture", exact=True)).to_have_value("")
    assert (pixels(lab, TRUTH) == 77).all()
