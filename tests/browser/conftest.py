"""The built book, served from a free port of this machine, and a browser that looks at its pages."""

import gzip
import io
import threading
from dataclasses import dataclass, field
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tools.book.browser import HTML, launch, pages, wait_until_drawn

PAGES = pages()
GENERATED = ["search", "genindex", "py-modindex"]  # pages that Sphinx adds
CHAPTERS = [page for page in PAGES if page.startswith("notebooks/0")]


@dataclass
class Visit:
    """An open page and what happened while it loaded."""

    name: str
    page: Page
    requests: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Note requests, failed requests, and the errors of scripts."""
        on, failures, complaints = self.page.on, self.failures, self.complaints
        on("request", lambda request: self.requests.append(request.url))
        on("requestfailed", lambda request: failures.append(f"{request.failure} {request.url}"))
        on(
            "response",
            lambda reply: (
                failures.append(f"{reply.status} {reply.url}") if reply.status >= 400 else None
            ),
        )
        on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
        on("pageerror", lambda error: complaints.append(str(error)))

    def foreign(self, home: str) -> list[str]:
        """Requests that left the book, whose address starts with `home`."""
        return [url for url in self.requests if not url.startswith((home, "data:", "blob:"))]


@cache
def squeezed(path: Path) -> bytes:
    return gzip.compress(path.read_bytes())


class Host(SimpleHTTPRequestHandler):
    """Serves files as public hosts do: text, and nothing else, is compressed on its way."""

    def send_head(self):
        path = Path(self.translate_path(self.path))
        if (
            path.suffix not in {".html", ".js", ".css", ".json", ".svg", ".txt", ".ipynb"}
            or not path.is_file()
        ):
            return super().send_head()
        body = squeezed(path)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return io.BytesIO(body)

    def log_message(self, *_args):
        """A test says what failed; a log of everything that went well hides it."""


@pytest.fixture(scope="session")
def html():
    """The folder of the built book."""
    if not (HTML / "index.html").exists():
        pytest.fail(f"there is no book in {HTML}; run make book first", pytrace=False)
    return HTML


@pytest.fixture(scope="session")
def site(html):
    """The address at which the book is served, with the final slash."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Host, directory=html)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def look(browser):
    """A function that opens an address in a fresh profile and waits until mathematics and widgets have been drawn."""
    contexts = []

    def look(home: str, name: str, theme: str = "light") -> Visit:
        contexts.append(
            browser.new_context(viewport={"width": 1200, "height": 900}, color_scheme=theme)
        )
        visit = Visit(name, contexts[-1].new_page())
        visit.listen()
        visit.page.goto(f"{home}{name}.html", wait_until="load")
        wait_until_drawn(visit.page)
        return visit

    yield look
    for context in contexts:
        context.close()


@pytest.fixture(scope="module", params=[*PAGES, *GENERATED])
def visit(look, site, request):
    """Every page of the book in turn, open."""
    return look(site, request.param)


@pytest.fixture(scope="module", params=CHAPTERS)
def chapter(look, site, request):
    """Every chapter in turn, open."""
    return look(site, request.param)


@pytest.fixture(scope="module", params=PAGES)
def file_visit(look, html, request):
    """Every page in turn, opened as a file, in the dark theme: no server at all."""
    return look(f"{html.as_uri()}/", request.param, "dark")


def choose(widget, name: str, value: str) -> None:
    """Choose a value of a select by the select's name."""
    widget.get_by_role("combobox", name=name, exact=True).select_option(value)
