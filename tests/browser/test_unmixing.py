"""The batch that comes apart, alone in a real browser: what it computes, says and looks like."""

import re

import pytest
from playwright.sync_api import expect

from dlgutils import data, widgets

APART = re.compile("all pictures have come apart")
TOGETHER = re.compile("not apart")


@pytest.fixture
def widget():
    """Eight photographs."""
    return widgets.unmixing(data.photos().x[:8], data.class_names("photos")[:8])


def caption(page):
    return page.locator("[aria-live]")


def test_unmixing_opens_with_all_pictures_apart(stage, widget):
    page = stage(widget)
    expect(caption(page)).to_have_text(APART)
    names = page.locator("canvas").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert len(set(names)) == 2


@pytest.mark.parametrize("rate", [0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("batch", [2, 5, 8])
def test_unmixing_takes_batches_apart_with_dropout_and_without(stage, widget, batch, rate):
    page = stage(widget)
    page.get_by_label("pictures", exact=True).fill(str(batch))
    page.get_by_label("dropout", exact=True).fill(str(rate))
    expect(caption(page)).to_have_text(APART)


def test_unmixing_begins_with_a_mixture(stage, widget):
    page = stage(widget)
    slider = page.get_by_label("turn", exact=True)
    slider.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", re.compile("a mixture of all pictures"))


def test_unmixing_needs_half_turns_for_two_pictures_of_one_class(stage, widget):
    page = stage(widget)
    page.get_by_label("in one class").check()
    expect(caption(page)).to_have_text(TOGETHER)
    page.get_by_label("half turns").check()
    expect(caption(page)).to_have_text(APART)


def test_unmixing_plays_to_the_end(stage, widget):
    page = stage(widget)
    page.get_by_role("button", name="Play").click()
    expect(caption(page)).to_have_text(re.compile("Before the first turn"))
    page.clock.run_for(400 * 31)
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    expect(caption(page)).to_have_text(re.compile("After turn 30"))


@pytest.mark.parametrize("width", [320, 390])
def test_unmixing_fits_a_phone(stage, widget, width):
    page = stage(widget, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
