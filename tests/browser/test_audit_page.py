"""The page of an audit in a browser: it asks for nothing, fits a phone, and shuts nobody out."""

import pytest

from tests.browser.test_accessibility import AXE, check
from tests.helpers import reports

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1200, "height": 900}
TOO_WIDE = """() => [...document.querySelectorAll("body, body *")]
    .filter((element) => element.getBoundingClientRect().right > innerWidth + 0.5)
    .map((element) => element.outerHTML.slice(0, 80))"""
PIXELATED = "img => getComputedStyle(img).imageRendering"
MAKERS = {
    "full": reports.full_report,
    "hostile": reports.hostile_report,
    "quiet": reports.quiet_report,
}
BOOK = {"light": ("white", "#323232"), "dark": ("#14181e", "#ced6dd")}  # grounds and inks


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    """opened(html, scheme, size): a page with this text as a file, and the requests it made."""
    contexts = []

    def opened(html, scheme="light", size=DESK, **options):
        context = browser.new_context(color_scheme=scheme, viewport=size, **options)
        contexts.append(context)
        path = tmp_path_factory.mktemp("page") / "audit.html"
        path.write_text(html, encoding="utf-8")
        page, requests = context.new_page(), []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        return page, [url for url in requests if not url.startswith("data:")]

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", MAKERS)
def test_page_shuts_nobody_out(opened, name, scheme):
    page, _ = opened(MAKERS[name]().to_html(), scheme)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    check(page, f"{name}, {scheme}", {})


def test_page_asks_for_nothing_but_itself_and_needs_no_script(opened):
    page, requests = opened(reports.full_report().to_html(), java_script_enabled=False)
    (own,) = requests
    assert own.startswith("file://")
    assert page.locator("h1").inner_text().startswith("3 of 8 images are recognisable")
    assert page.locator("figure img").count() == 16


@pytest.mark.parametrize("name", MAKERS)
def test_page_fits_a_phone(opened, name):
    page, _ = opened(MAKERS[name]().to_html(), size=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate(TOO_WIDE) == []


def test_page_with_long_names_fits_a_phone(opened):
    report = reports.hostile_report("x" * 300)
    page, _ = opened(report.to_html(), size=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_small_pictures_are_shown_as_squares(opened):
    page, _ = opened(reports.full_report().to_html())
    assert page.locator("figure img").first.evaluate(PIXELATED) == "pixelated"


def test_page_is_dark_where_the_reader_wants_it(opened):
    grounds = []
    for scheme in ("light", "dark"):
        page, _ = opened(reports.full_report().to_html(), scheme)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(int(part) for part in colour[4:-1].split(",")))
    assert grounds[0] > 600
    assert grounds[1] < 150


def test_markup_in_names_is_shown_and_not_executed(opened):
    page, _ = opened(reports.hostile_report().to_html())
    assert page.locator("script").count() == 0
    assert "<script>" in page.locator("h2 + p, .what").first.inner_text()


@pytest.mark.parametrize("scheme", BOOK)
@pytest.mark.parametrize("width", [360, 1200])
def test_fragment_is_readable_on_the_book_s_grounds(opened, scheme, width):
    ground, ink = BOOK[scheme]
    html = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>A page</title>'
        '<meta name="viewport" content="width=device-width">'
        f'<body style="background: {ground}; color: {ink}"><main><h1>A page</h1>'
        f"{reports.full_report()._repr_html_()}</main>"
    )
    page, _ = opened(html, size={"width": width, "height": 800})
    page.evaluate(AXE.read_text(encoding="utf-8"))
    check(page, f"fragment, {scheme}", {})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
