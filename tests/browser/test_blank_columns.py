"""The columns to mark, alone in a real browser: pointer, keyboard, score, phone, dark and light."""

import pytest
import torch
from playwright.sync_api import expect

from dlgutils import widgets

GRADIENT = torch.outer(torch.tensor([0.1, -0.9, 0.2]), torch.linspace(0.5, 1, 24))
MASK = (torch.arange(24) % 3 > 0) * 2.0
FIGURE = widgets.blank_columns(GRADIENT * (MASK > 0), MASK)
DROPPED = [0, 3, 6, 9, 12, 15, 18, 21]


def column(page, k):
    return page.get_by_role("button", name=f"column {k},")


def score(page):
    page.get_by_role("button", name="Check").click()
    return page.locator("[aria-live]").inner_text()


def test_blank_columns_score_the_right_mask(stage):
    page = stage(FIGURE)
    for k in DROPPED:
        column(page, k).click()
    assert score(page) == "24 of 24 right: you have read the client's mask."


def test_blank_columns_say_what_is_wrong_until_it_is_changed(stage):
    page = stage(FIGURE)
    column(page, 0).click()
    column(page, 1).click()
    expected = "16 of 24 right: dropped units found: 1 of 8; kept units marked: 1. Look for ✗."
    assert score(page) == expected
    expect(page.get_by_role("button", name="wrong")).to_have_count(8)
    column(page, 1).click()
    expect(page.get_by_role("button", name="wrong")).to_have_count(0)
    expect(page.locator("[aria-live]")).to_contain_text("marked as blank: 1")


def test_blank_columns_are_marked_with_the_keyboard_alone(stage):
    page = stage(FIGURE)
    page.keyboard.press("Tab")
    expect(column(page, 0)).to_be_focused()
    for k in range(24):
        if k in DROPPED:
            page.keyboard.press("Space")
        page.keyboard.press("ArrowRight")
    expect(column(page, 23)).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("[aria-live]")).to_contain_text("24 of 24 right")


def test_blank_columns_can_be_cleared_and_set_by_a_kernel(stage):
    page = stage(FIGURE)
    page.evaluate("model.set('marked', [2, 5])")
    expect(column(page, 5)).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("[aria-pressed=true]")).to_have_count(0)


def test_blank_columns_say_how_large_their_entries_are(stage):
    page = stage(FIGURE)
    expect(column(page, 3)).to_have_accessible_name("column 3, largest entry 0")
    expect(column(page, 23)).to_have_accessible_name("column 23, largest entry 0.9")


@pytest.mark.parametrize("width", [320, 390, 800])
def test_blank_columns_fit_the_page_and_a_finger(stage, width):
    page = stage(FIGURE, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for button in page.get_by_role("group").get_by_role("button").all():
        assert button.bounding_box()["width"] >= 22
