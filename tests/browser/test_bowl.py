"""The bowl in a real browser: its searches are those of the library, and readers can use it."""

import math

import pytest
import torch
from playwright.sync_api import expect

from dlgutils import widgets
from dlgutils.matching.optimizers import lbfgs
from dlgutils.widgets.base import front_end

EVALUATIONS = 12
DESCEND = """([source, shape, start, rule, evaluations]) => {
    const { landscape, descend } = new Function(`${source}; return { landscape, descend };`)();
    return descend(landscape(shape), start, rule, evaluations).map(({ at }) => [...at]);
}"""
DARK = ("#121212", "#ddd")


def two_sigmoids(point, scale, condition):
    """Value and slope of the bowl at a point, (1, 2): by autograd."""
    point = point.detach().requires_grad_()
    cosine, sine = math.cos(0.5), math.sin(0.5)
    rows = torch.tensor([[cosine, sine], [-sine, cosine]], dtype=torch.float64)
    rows[1] /= condition**0.5
    inputs = point @ rows.T - 2
    secret = torch.tensor(-2.0, dtype=torch.float64)
    value = scale * (inputs.sigmoid() - secret.sigmoid()).square().sum(1)
    (slope,) = torch.autograd.grad(value, point)
    return value.detach(), slope


def trials_of_the_library(optimizer, start, **shape):
    state, trials = optimizer.init(torch.tensor([start], dtype=torch.float64)), []
    while state.alive and len(trials) < EVALUATIONS:
        trials.append(state.trial[0])
        state = optimizer.update(state, *two_sigmoids(state.trial, **shape))
    return torch.stack(trials)


@pytest.fixture(scope="module")
def blank(browser):
    page = browser.new_page()
    yield page
    page.close()


@pytest.mark.parametrize("rule", ["full", "searching"])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("start", [(-6.0, 2.0), (0.0, 4.0), (2.0, 6.0)], ids=str)
def test_bowl_is_searched_as_by_the_library(blank, rule, scale, start):
    shape = {"scale": scale, "condition": 10.0}
    source = front_end("bowl_search")
    here = blank.evaluate(DESCEND, [source, shape, list(start), rule, EVALUATIONS])
    optimizer = lbfgs(line_search=rule == "searching")
    wanted = trials_of_the_library(optimizer, start, **shape)
    torch.testing.assert_close(torch.tensor(here).double(), wanted, rtol=1e-6, atol=1e-6)


def caption(page):
    return page.locator("[aria-live]")


def test_bowl_untouched_shows_a_full_step_explode_and_a_line_search_arrive(stage):
    page = stage(widgets.bowl())
    expect(caption(page)).to_contain_text("Full step (crosses): ends with 10 times the loss")
    expect(caption(page)).to_contain_text("Line search (dots): arrives after 14 evaluations.")


@pytest.mark.parametrize(
    ("name", "full", "searching"),
    [
        ("full step freezes", "has hardly moved after 60 ", "arrives"),
        ("both arrive", "arrives", "arrives"),
        ("both get lost", "but is 14 away", "but is 180 away"),
    ],
)
def test_bowl_has_examples_that_do_what_they_say(stage, name, full, searching):
    page = stage(widgets.bowl())
    page.get_by_role("button", name=name).press("Enter")
    words = caption(page).inner_text()
    first, second = words.split("Line search (dots): ")
    assert full in first
    assert searching in second


@pytest.mark.parametrize("power", [-8, -2, 2])
def test_bowl_is_searched_along_lines_at_any_scale_alike(stage, power):
    page = stage(widgets.bowl(scale=10.0**power))
    expect(caption(page)).to_contain_text("Line search (dots): arrives after 14 evaluations.")


@pytest.mark.parametrize("power", [-8, -4, -2])
def test_bowl_freezes_the_full_step_at_small_scales(stage, power):
    page = stage(widgets.bowl(scale=10.0**power))
    expect(caption(page)).to_contain_text("Full step (crosses): has hardly moved")


def test_bowl_says_what_a_slider_does_once_and_shows_its_value(stage):
    page = stage(widgets.bowl())
    slider = page.get_by_role("slider", name="scale of the loss")
    slider.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", f"1e-1. {caption(page).inner_text()}")
    expect(page.locator(".dlg-value").nth(2)).to_have_text("1e-1")
    expect(caption(page)).to_have_attribute("aria-live", "off")


def test_bowl_starts_where_a_pointer_is_put(stage):
    page = stage(widgets.bowl())
    box = page.locator(".dlg-paths").bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 0.75 * box["height"])
    assert page.evaluate("[model.get('across'), model.get('up')]") == [5, -5]
    page.mouse.click(box["x"] + 1, box["y"] + 1)
    assert page.evaluate("[model.get('across'), model.get('up')]") == [-8, 8]


def test_bowl_is_described_where_it_cannot_be_seen(stage):
    page = stage(widgets.bowl())
    words = caption(page).inner_text()
    description = f"loss over two unknowns, the secret in the middle. {words}"
    expect(page.get_by_role("img")).to_have_accessible_name(description)


@pytest.mark.parametrize("width", [320, 390])
def test_bowl_fits_a_phone_in_the_dark(stage, width):
    page = stage(widgets.bowl(), width=width, colours=DARK)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".dlg-bowl").bounding_box()["height"] < 844
