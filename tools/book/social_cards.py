"""A Sphinx extension: what other sites show of a page to which they link (https://ogp.me)."""

from html import escape
from pathlib import Path
from textwrap import shorten
from urllib.parse import urljoin

from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx

# of draw_cards.py; the front page shows them, so Sphinx copies them to _images/
CARDS = Path("_build/cards")


def picture(source: Path, page: str) -> Path:
    """The page's own card, or that of the first chapter."""
    own = source / CARDS / f"{Path(page).name}.png"
    return own if own.exists() else min(own.parent.glob("*.png"))


def words(document: nodes.document) -> str:
    """The first paragraph that is more than a link, or else the title; at most 200 characters."""
    text = document.next_node(nodes.title).astext()
    for paragraph in document.findall(nodes.paragraph):
        is_link = isinstance(paragraph[0], nodes.reference)
        if isinstance(paragraph.parent, nodes.section) and not is_link:
            text = paragraph.astext()
            break
    return shorten(text.removeprefix("The question. "), 200, placeholder=" …")


def add_tags(
    app: Sphinx, page: str, template: str, context: dict, document: nodes.document | None
) -> None:
    """Add the tags to a page; pages that are not documents, such as the search, have none.

    The arguments are those of Sphinx's event html-page-context.
    """
    if document is None:
        return
    image = picture(Path(app.srcdir), page)
    tags = {
        "og:type": "article",
        "og:site_name": app.config.html_title,
        "og:title": document.next_node(nodes.title).astext(),
        "og:description": words(document),
        "og:url": context["pageurl"],
        "og:image": urljoin(app.config.html_baseurl, f"_images/{image.name}"),
        "og:image:alt": Image.open(image).text["Description"],
    }
    lines = []
    for name, value in tags.items():
        lines.append(f'<meta property="{name}" content="{escape(value)}" />')
    description = escape(tags["og:description"])
    lines.append(f'<meta name="description" content="{description}" />')
    lines.append('<meta name="twitter:card" content="summary_large_image" />')
    context["metatags"] += "\n".join(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("html-page-context", add_tags)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
