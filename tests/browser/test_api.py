"""The API page documents every public name, recipes included, and draws the floors."""

import importlib

import pytest

import dlgutils
from dlgutils.types import Transform
from tools.architecture import FLOORS, modules

MODULES = [f"dlgutils.{name}" for name in modules()]


def public(module: str) -> set[str]:
    """Functions, classes, recipes and transforms defined in a module."""
    things = vars(importlib.import_module(module)).items()
    defined = {name for name, thing in things if getattr(thing, "__module__", "") == module}
    values = {name for name, thing in things if isinstance(thing, dlgutils.Attack | Transform)}
    return {name for name in defined | values if not name.startswith("_")}


@pytest.mark.parametrize("module", MODULES)
def test_api_page_has_every_public_name(module, html):
    page = (html / "book" / "api.html").read_text(encoding="utf-8")
    names = public(module)
    assert names
    assert {name for name in names if f'id="{module}.{name}"' not in page} == set()


def test_api_page_describes_the_drawing_of_the_floors(html):
    page = (html / "book" / "api.html").read_text(encoding="utf-8")
    assert "floors.png" in page
    alt = page[page.index("floors.png") :][:2000]
    assert [room for floor in FLOORS for room in floor if room not in alt] == []
