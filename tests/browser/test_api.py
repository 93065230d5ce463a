"""The API page documents every public name, recipes included."""

import importlib
import pkgutil

import pytest

import dlgutils
from dlgutils.types import Coordinates

MODULES = [f"dlgutils.{module.name}" for module in pkgutil.iter_modules(dlgutils.__path__)]


def public(module: str) -> set[str]:
    """Functions, classes, recipes and coordinates defined in a module."""
    things = vars(importlib.import_module(module)).items()
    defined = {name for name, thing in things if getattr(thing, "__module__", "") == module}
    values = {name for name, thing in things if isinstance(thing, dlgutils.Attack | Coordinates)}
    return {name for name in defined | values if not name.startswith("_")}


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_on_the_page(module, html):
    page = (html / "book" / "api.html").read_text(encoding="utf-8")
    names = public(module)
    assert names
    assert {name for name in names if f'id="{module}.{name}"' not in page} == set()
