"""A Sphinx extension: the table of contents beside source pages is made once, not for each.

The pages that show the library's source are in no table of contents, so that the one beside them
differs in nothing but how far it lies below the root. Sphinx copies all of it for every page, with
each name of the library, which took a third of the build.
"""

from collections.abc import Callable

from docutils import nodes
from sphinx.application import Sphinx

SOURCES = "_modules/"


class Memory:
    """Tables of contents that were made, by the depth of the page and by what was asked for."""

    def __init__(self) -> None:
        self.made: dict[tuple, str] = {}

    def recall(self, depth: int, make: Callable[..., str], **wanted: object) -> str:
        """What `make(**wanted)` is for a page at this depth."""
        key = (depth, *sorted(wanted.items()))
        if key not in self.made:
            self.made[key] = make(**wanted)
        return self.made[key]

    def replace(
        self, app: Sphinx, page: str, template: str, context: dict, document: nodes.document | None
    ) -> None:
        """Connected to html-page-context, before the theme asks for the table of contents."""
        if page.startswith(SOURCES) and document is None:
            depth, make = page.count("/"), context["toctree"]
            context["toctree"] = lambda **wanted: self.recall(depth, make, **wanted)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("html-page-context", Memory().replace, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
