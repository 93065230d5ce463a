"""Accuracy against leakage, in a real browser: a point, a slider and a click agree."""

import pytest
import torch
from playwright.sync_api import expect

from dlgutils import metrics, widgets

ACCURACY = {"none": 0.6, "noise": 0.3, "more noise": 0.15}
SUCCESSES = {"fresh network": (8, 4, 0), "trained network": (7, 2, 0)}


def rates(successes):
    return [metrics.success_rate(torch.arange(8) < n) for n in successes]


@pytest.fixture
def plot(stage):
    """The widget on a page as wide as a phone's column."""
    pictures = torch.linspace(0, 1, 3).view(3, 1, 1, 1, 1).expand(3, 4, 3, 8, 8)
    widget = widgets.tradeoff(
        ACCURACY,
        {name: rates(each) for name, each in SUCCESSES.items()},
        dict.fromkeys(SUCCESSES, pictures),
        torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)),
    )
    return stage(widget, width=354)


def says(page, words):
    expect(page.locator("[aria-live]")).to_contain_text(words)


def colour(page):
    """The red of the first pixel that the attacker found."""
    script = "c => c.getContext('2d').getImageData(0, 0, 1, 1).data[0]"
    return page.locator("canvas").first.evaluate(script)


def test_tradeoff_untouched_shows_the_first_defence(plot):
    says(plot, "none, fresh network: accuracy 60%, identified 8 of 8")
    assert colour(plot) == 0
    expect(plot.locator("circle")).to_have_count(3)


def test_tradeoff_moves_with_its_slider_and_its_situation(plot):
    plot.get_by_label("defence").fill("1")
    says(plot, "noise, fresh network: accuracy 30%, identified 4 of 8")
    assert colour(plot) == 128
    plot.get_by_label("situation").select_option("trained network")
    says(plot, "noise, trained network: accuracy 30%, identified 2 of 8")
    now = plot.locator(".dlg-now circle")
    assert (now.get_attribute("cy"), now.count()) == ("75%", 1)


def test_tradeoff_goes_to_the_point_that_is_clicked(plot):
    plot.locator('circle[cy="50%"]').click()
    says(plot, "noise, fresh network: accuracy 30%")
    assert plot.get_by_label("defence").input_value() == "1"


def test_tradeoff_fits_a_phone(plot):
    assert plot.evaluate("document.documentElement.scrollWidth") <= 390
