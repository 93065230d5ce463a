"""A Sphinx extension for the page *The library, name by name*."""

from typing import NamedTuple

from sphinx.application import Sphinx


class _Record(NamedTuple):
    field: int


FIELD = type(_Record.__dict__["field"])


def skip_fields(
    app: Sphinx, what: str, name: str, thing: object, skip: bool, options: object
) -> bool:
    """Connected to autodoc-skip-member: fields of NamedTuples are not listed one by one.

    All that autodoc has for them is "Alias for field number 0"; the source has comments.
    """
    return skip or isinstance(thing, FIELD)


def keep_colon(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Connected to autodoc-process-docstring, before napoleon.

    Napoleon takes what stands before a colon in the first line of a value's docstring for its type.
    An empty comment as the first line has no colon.
    """
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("autodoc-process-docstring", keep_colon, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
