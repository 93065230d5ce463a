"""The bars of δ alone, in a real browser: what they say, and that they fit a phone."""

import re

import pytest
import torch
from playwright.sync_api import expect
from torch.nn.functional import cross_entropy, one_hot

from dlgutils import widgets

CLASSES = ("cat", "coffee", "rocket")
LABELS = torch.tensor([0, 0, 1, 2])
NETWORKS = {"flat": torch.zeros(4, 3), "sure": 6.0 * one_hot(torch.tensor([1, 1, 1, 1]), 3)}


@pytest.fixture
def bars(stage):
    """The widget on a page as wide as a phone's column."""
    return stage(widgets.deltas(NETWORKS, LABELS, CLASSES), width=354)


def gradient(page):
    """The entries of ∂L/∂b that the page shows, by class."""
    labels = [bar.get_attribute("aria-label") for bar in page.get_by_role("img").all()]
    pairs = (label.removeprefix("∂L/∂b at ").split(": ") for label in labels)
    return {name: float(value.replace("−", "-")) for name, value in pairs}


def says(page, words):
    expect(page.locator("[aria-live]")).to_contain_text(words)


def slide(page, name, value):
    page.get_by_role("slider", name=f"logit of {name}").fill(str(value))


def test_deltas_untouched_is_negative_at_the_label_only(bars):
    says(bars, "One image, of class cat. δ is negative at cat and nowhere else.")
    assert gradient(bars) == {"cat": -0.67, "coffee": 0.33, "rocket": 0.33}


def test_deltas_agrees_with_pytorch_when_logits_move(bars):
    logits = torch.tensor([[1.5, -2, 0.7]], requires_grad=True)
    cross_entropy(logits, LABELS[:1]).backward()
    for name, value in zip(CLASSES, logits[0].tolist(), strict=True):
        slide(bars, name, round(value, 1))
    wanted = dict(zip(CLASSES, logits.grad[0].tolist(), strict=True))
    assert gradient(bars) == pytest.approx(wanted, abs=0.0051)


def test_deltas_loses_its_minus_sign_when_single_precision_rounds_softmax_to_one(bars):
    for name in CLASSES:
        slide(bars, name, 12 if name == "cat" else -12)
    says(bars, "softmax was rounded to 1")
    assert gradient(bars)["cat"] == 0


def test_deltas_of_two_images_of_one_class_show_it_once(bars):
    bars.get_by_label("images in the batch").select_option("2")
    says(bars, "negative at cat. Its 2 smallest entries: cat, coffee. The labels: cat, cat.")
    says(bars, "is wrong here")
    bars.get_by_label("show image").select_option("2")
    bars.get_by_label("its class").select_option("rocket")
    says(bars, 'The labels: cat, rocket. So the rule "take the 2 smallest" is right here.')
    bars.get_by_role("button", name="Reset").click()
    says(bars, "The labels: cat, cat.")


def test_deltas_of_a_network_that_is_sure_hide_the_label_that_it_is_sure_of(bars):
    bars.get_by_label("network").select_option("sure")
    bars.get_by_label("images in the batch").select_option("4")
    says(bars, "negative at cat, rocket.")
    assert gradient(bars)["coffee"] > 0


def test_deltas_fits_a_phone_and_its_sliders_have_names(bars):
    assert bars.evaluate("document.documentElement.scrollWidth") <= 354
    for slider in bars.get_by_role("slider").all():
        expect(slider).to_have_accessible_name(re.compile(r"^logit of \w+$"))
        assert re.match(r"z .+, δ .+", slider.get_attribute("aria-valuetext"))
