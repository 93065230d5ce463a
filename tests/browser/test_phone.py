"""The chapters on a phone, 390 pixels wide: nothing has to be moved sideways to be read."""

import pytest

from tests.browser.conftest import CHAPTERS, PHONE

WIDE_CODE = """() => [...document.querySelectorAll("div.cell_input pre")]
    .filter(pre => pre.offsetParent && pre.scrollWidth > pre.clientWidth + 1)
    .map(pre => pre.textContent.slice(0, 60))"""
WIDE_FORMULAS = """() => [...document.querySelectorAll("div.math")]
    .filter(math => math.offsetParent && (math.scrollWidth > math.clientWidth + 1
        || math.querySelector("mjx-math").getBoundingClientRect().right > innerWidth))
    .map(math => math.querySelector("mjx-math").textContent)"""
HEIGHT = """() => {
    const top = document.querySelector("article").getBoundingClientRect().top;
    const end = document.querySelector("#exercises") ?? document.querySelector("#references");
    return end.getBoundingClientRect().top - top;
}"""
SCREENS = 15


@pytest.fixture(scope="module", params=[*CHAPTERS, "notebooks/lab"])
def on_a_phone(look, site, request):
    """Each chapter in turn on a phone."""
    visit = look(site, request.param, size=PHONE)
    yield visit.page
    visit.page.close()


def test_code_of_a_chapter_is_no_wider_than_the_phone(on_a_phone):
    assert on_a_phone.evaluate(WIDE_CODE) == []


def test_formulas_of_a_chapter_are_no_wider_than_the_phone(on_a_phone):
    assert on_a_phone.evaluate(WIDE_FORMULAS) == []


def test_a_chapter_up_to_its_exercises_takes_at_most_so_many_screens_of_a_phone(on_a_phone):
    height = on_a_phone.evaluate(HEIGHT)
    assert height / PHONE["height"] <= SCREENS
