"""Print the built pages in reading order, with bookmarks: python tools/book/print_book.py

The book lands in _build/html/gradients-leak.pdf. Without a browser there is no PDF, and a message
says so; the pages are complete all the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from itertools import cycle
from urllib.parse import urldefrag

import yaml
from browser import HTML, ROOT, launch, pages, wait_until_drawn
from playwright.sync_api import Browser, Page, sync_playwright
from pypdf import PageObject, PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, NameObject, TextStringObject

PDF = HTML / "gradients-leak.pdf"


def opened(browser: Browser, addresses: Sequence[str]) -> Iterator[Page]:
    """The pages at `addresses`, one after another, in two tabs: one loads while one is printed."""
    look = {"color_scheme": "light", "reduced_motion": "reduce"}  # films stand at their last frame
    tabs = cycle([browser.new_page(**look) for _ in range(2)])
    before = None
    for address, tab in zip(addresses, tabs, strict=False):
        tab.emulate_media(media="screen")
        tab.goto(address, wait_until="commit")
        if before is not None:
            yield before
        before = tab
    yield before


def printed(page: Page, first: int) -> tuple[str, PdfReader]:
    """Title and PDF of a page; `first` is the number on its first sheet."""
    page.wait_for_load_state("load")
    wait_until_drawn(page)
    page.add_style_tag(content=f"html {{ counter-reset: page {first - 1}; }}")
    page.emulate_media(media="print")
    title = page.locator("article h1").inner_text()
    pdf = page.pdf(prefer_css_page_size=True)
    return title, PdfReader(BytesIO(pdf))


def links(pdf: PdfReader | PdfWriter) -> Iterator[DictionaryObject]:
    """All links of a document, sheet by sheet."""
    for sheet in pdf.pages:
        for link in sheet.annotations or ():
            yield link.get_object()


def unname(pdf: PdfReader) -> None:
    """Replace the names to which links within a page lead by the places themselves.

    All chapters have the same names, such as exercises.
    """
    places = pdf.named_destinations
    for link in links(pdf):
        name = link.get("/Dest")
        if name in places:
            link[NameObject("/Dest")] = places[name].dest_array


def redirect(action: DictionaryObject, starts: Mapping[str, PageObject], published: str) -> None:
    """Make a link to a file on this machine lead to its page in the PDF, or to the published book.

    action: of the link. starts: the first sheets of all pages, by their addresses. published: the
    address of the published book.
    """
    address, anchor = urldefrag(action.get("/URI", ""))
    home = HTML.as_uri()
    if address in starts:
        sheet = starts[address].indirect_reference
        action.clear()
        action[NameObject("/S")] = NameObject("/GoTo")
        action[NameObject("/D")] = ArrayObject([sheet, NameObject("/Fit")])
    elif address.startswith(home):
        there = address.replace(f"{home}/", published)
        if anchor:
            there += f"#{anchor}"
        action[NameObject("/URI")] = TextStringObject(there)


def print_book(browser: Browser) -> PdfWriter:
    """All pages as one document, with a bookmark for each."""
    book = PdfWriter()
    starts = {}
    addresses = [(HTML / f"{name}.html").as_uri() for name in pages()]
    for address, page in zip(addresses, opened(browser, addresses), strict=True):
        before = len(book.pages)
        title, pdf = printed(page, before + 1)
        unname(pdf)
        book.append(pdf, outline_item=title)
        starts[address] = book.pages[before]
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    published = config["html"]["baseurl"]
    for link in links(book):
        redirect(link.get("/A", DictionaryObject()), starts, published)
    return book


def main() -> None:
    with sync_playwright() as playwright:
        try:
            browser = launch(playwright)
        except RuntimeError as error:
            print(
                f"print_book: {error}.\n"
                "The pages are built; only the PDF, to which the front page links, is missing."
            )
            return
        book = print_book(browser)
    book.add_metadata({"/Title": "Gradients Leak"})
    book.compress_identical_objects()
    book.write(PDF)


if __name__ == "__main__":
    main()
