"""A Sphinx extension: the title, words and picture that other sites show when someone links to a page (https://ogp.me)."""

from html import escape
from pathlib import Path
from textwrap import shorten
from urllib.parse import urljoin

from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx

CARDS = Path(
    "_build/cards"
)  # of tools/book/draw_cards.py; the front page shows them, so they lie in _images/


def picture(source: Path, page: str) -> Path:
    """The page's own card, or that of the first chapter."""
    own = source / CARDS / f"{Path(page).name}.png"
    return own if own.exists() else min(own.parent.glob("*.png"))


def words(document: nodes.document) -> str:
    """The first paragraph that is more than a link, at most two hundred characters of it; the title if there is none."""
    texts = (p for p in document.findall(nodes.paragraph) if isinstance(p.parent, nodes.section))
    first = next(
        (p for p in texts if not isinstance(p[0], nodes.reference)), document.next_node(nodes.title)
    )
    return shorten(first.astext().removeprefix("The question. "), 200, placeholder=" …")


def add_tags(
    app: Sphinx, page: str, template: str, context: dict, document: nodes.document | None
) -> None:
    """Connected to html-page-context; pages that are no documents, such as the search, have no card."""
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
    lines = [
        f'<meta property="{name}" content="{escape(value)}" />' for name, value in tags.items()
    ]
    lines.append(f'<meta name="description" content="{escape(tags["og:description"])}" />')
    lines.append('<meta name="twitter:card" content="summary_large_image" />')
    context["metatags"] += "\n".join(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", add_tags)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
