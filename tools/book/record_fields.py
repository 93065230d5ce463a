"""A Sphinx extension: the API page does not list the fields of NamedTuples one by one.

All that autodoc can say of them is "Alias for field number 0"; the source has a comment for each.
"""

from typing import NamedTuple

from sphinx.application import Sphinx


class _Record(NamedTuple):
    field: int


FIELD = type(_Record.__dict__["field"])


def skip_fields(
    app: Sphinx, what: str, name: str, thing: object, skip: bool, options: object
) -> bool:
    """Whether autodoc leaves a member out; the arguments are those of autodoc-skip-member."""
    return skip or isinstance(thing, FIELD)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("autodoc-skip-member", skip_fields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
