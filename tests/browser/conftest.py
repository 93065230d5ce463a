"""The built book, served from a free port of this machine, and a browser that looks at it."""

import gzip
import io
import re
import threading
from dataclasses import dataclass, field
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import ConsoleMessage, Page, Response, expect, sync_playwright

from tests.browser.lab_page import reset
from tests.browser.stage import STAGE, state_of
from tests.helpers.results import attack_on_the_cat
from tools.book.browser import HTML, launch, pages, wait_until_drawn

PAGES = pages()
GENERATED = ["search", "genindex", "py-modindex"]  # pages that Sphinx adds
DESK = {"width": 1200, "height": 900}
PHONE = {"width": 390, "height": 844}
COMPRESSED = {".html", ".js", ".css", ".json", ".svg", ".txt", ".ipynb"}
CHAPTERS = [page for page in PAGES if re.match(r"notebooks/\d", page)]


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
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", lambda request: self._fail(request.failure, request.url))
        self.page.on("response", self._note_reply)
        self.page.on("console", self._note_console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _note_reply(self, reply: Response) -> None:
        if reply.status >= 400:
            self._fail(reply.status, reply.url)

    def _note_console(self, line: ConsoleMessage) -> None:
        if line.type == "error":
            self.complaints.append(line.text)

    def _fail(self, what: object, url: str) -> None:
        self.failures.append(f"{what} {url}")

    def foreign(self, home: str) -> list[str]:
        """Requests that left the book, whose address starts with `home`."""
        return [url for url in self.requests if not url.startswith((home, "data:", "blob:"))]


@cache
def squeezed(path: Path) -> bytes:
    """A file as it is sent, compressed."""
    return gzip.compress(path.read_bytes())


class Host(SimpleHTTPRequestHandler):
    """Serves files as public hosts do: text, and nothing else, is compressed on its way."""

    def send_head(self):
        path = Path(self.translate_path(self.path))
        if path.suffix not in COMPRESSED or not path.is_file():
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
    """A headless browser, for all tests."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def look(browser):
    """A function that opens an address in a fresh profile and waits until all of it is drawn."""
    contexts = []

    def look(home: str, name: str, theme: str = "light", size: dict[str, int] = DESK) -> Visit:
        context = browser.new_context(viewport=size, color_scheme=theme)
        contexts.append(context)
        visit = Visit(name, context.new_page())
        visit.listen()
        visit.page.goto(f"{home}{name}.html", wait_until="load")
        wait_until_drawn(visit.page)
        return visit

    yield look
    for context in contexts:
        context.close()


@pytest.fixture(scope="module", params=[*PAGES, *GENERATED])
def visit(look, site, request):
    """Every page of the book in turn, open until the next one's turn."""
    visit = look(site, request.param)
    yield visit
    visit.page.context.close()


@pytest.fixture(scope="module", params=CHAPTERS)
def chapter(look, site, request):
    """Every chapter in turn, open until the next one's turn."""
    visit = look(site, request.param)
    yield visit
    visit.page.context.close()


@pytest.fixture(scope="module", params=PAGES)
def file_visit(look, html, request):
    """Every page in turn, opened as a file, in the dark theme: no server at all."""
    visit = look(f"{html.as_uri()}/", request.param, "dark")
    yield visit
    visit.page.context.close()


@pytest.fixture(scope="session")
def result():
    """An attack on the cat, for films."""
    return attack_on_the_cat(steps=40, frames=10)


@pytest.fixture
def stage(browser):
    """A function that puts a film on a page of its own, and returns the page.

    When the test ends, no error may have been raised there.
    """
    pages = []
    errors = []

    def note(line):
        if line.type == "error":
            errors.append(line.text)

    def stage(film, *, width=800, colours=("white", "#222"), before="", **context):
        viewport = {"width": width, "height": 900}
        page = browser.new_context(viewport=viewport, **context).new_page()
        pages.append(page)
        page.clock.install(time=0)
        page.clock.pause_at(1000)  # time stands still but for `wait`
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", note)
        ground, ink = colours
        look = {"ground": ground, "ink": ink, "css": film._css, "before": before}
        page.set_content(STAGE.format(state=state_of(film), **look))
        expect(page.locator("[aria-live]")).to_have_text(re.compile(r"\w"))
        return page

    yield stage
    for page in pages:
        page.context.close()
    assert errors == []


@pytest.fixture(scope="module")
def lab_visit(look, site):
    """The page of the lab."""
    return look(site, "notebooks/lab")


@pytest.fixture
def lab(lab_visit):
    """The lab, at rest and as it was opened."""
    lab = lab_visit.page.locator(".dlg-lab")
    reset(lab)
    return lab
