"""Links of the chapters: they work in JupyterLab, in Colab and in the book, published or not.

Until a repository is set, its address in _config.yml is a placeholder: chapters link to one another
by file, and the built pages drop every link to the placeholder. `make repository URL=…` turns links
between files into addresses of the published book, since Colab opens one file and has no others.
As a Sphinx extension this module turns them back into links between files, in its build only.
"""

import json
import re
from os.path import relpath

from sphinx.application import Sphinx
from sphinx.config import Config

PLACEHOLDER = "OWNER"
"""The owner of the repository until somebody sets one."""

FILE = re.compile(r"\]\((?:\.\./(book)/)?([\w-]+)\.(?:md|ipynb)(#[\w.-]+)?\)")
"""A link from a notebook to a page of the book, as a file."""

SUFFIXES = {"book": "md", "notebooks": "ipynb"}


def home(owner: str, name: str) -> str:
    """Where GitHub publishes the pages of a repository, with the final slash."""
    return f"https://{owner}.github.io/{name}/"


def to_addresses(text: str, site: str) -> str:
    """The text of a notebook, with its links to other files of the book pointing at `site`."""

    def address(link: re.Match) -> str:
        folder, page, anchor = link.groups()
        return f"]({site}{folder or 'notebooks'}/{page}.html{anchor or ''})"

    return FILE.sub(address, text)


def to_files(text: str, site: str, folder: str = "notebooks") -> str:
    """The reverse: links to pages at `site` become links to files, as seen from `folder`."""
    page = re.compile(rf"\]\({re.escape(site)}(book|notebooks)/([\w-]+)\.html(#[\w.-]+)?\)")

    def file(link: re.Match) -> str:
        where, name, anchor = link.groups()
        path = relpath(f"{where}/{name}.{SUFFIXES[where]}", folder)
        return f"]({path}{anchor or ''})"

    return page.sub(file, text)


def without_dead_links(markdown: str) -> str:
    """Markdown without its links to the placeholder: their words stay, but for launch links."""
    dead = rf"\(https://[^)\s]*\b{PLACEHOLDER}\b[^)]*\)"
    markdown = re.sub(rf"^\[Open in Colab\]{dead}\n+", "", markdown, flags=re.MULTILINE)
    markdown = re.sub(
        rf"^:link: https://\S*\b{PLACEHOLDER}\b\S*\n", "", markdown, flags=re.MULTILINE
    )
    return re.sub(rf"\[([^\[\]]*)\]{dead}", r"\1", markdown)


def in_cells(notebook: str) -> str:
    """The text of a notebook whose Markdown cells have no dead links."""
    content = json.loads(notebook)
    for cell in content["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = without_dead_links("".join(cell["source"]))
    return json.dumps(content)


def is_set(config: Config) -> bool:
    """Whether the book has an address of its own."""
    return PLACEHOLDER not in config.html_baseurl


def hide_buttons(_app: Sphinx, config: Config) -> None:
    """Without an address: no rocket, no buttons of a repository."""
    if not is_set(config):
        options = {"use_repository_button": False, "use_issues_button": False, "launch_buttons": {}}
        config.html_theme_options.update(options)


def mend_links(app: Sphinx, name: str, source: list[str]) -> None:
    """The source of a page before it is read: links to files, and none to the placeholder."""
    if is_set(app.config):
        source[0] = to_files(source[0], app.config.html_baseurl, name.rpartition("/")[0] or ".")
    elif app.env.doc2path(name).endswith(".ipynb"):
        source[0] = in_cells(source[0])
    else:
        source[0] = without_dead_links(source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("config-inited", hide_buttons)
    app.connect("source-read", mend_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
