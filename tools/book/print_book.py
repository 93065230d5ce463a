"""Print the built pages in reading order into _build/html/gradients-leak.pdf, with bookmarks: python tools/book/print_book.py

Without a browser there is no PDF, and it says so; the pages are complete all the same.
"""

from collections.abc import Iterator, Mapping
from io import BytesIO
from urllib.parse import urldefrag

import yaml
from browser import HTML, ROOT, launch, pages, wait_until_drawn
from playwright.sync_api import Browser, sync_playwright
from pypdf import PageObject, PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, NameObject, TextStringObject

PDF = HTML / "gradients-leak.pdf"


def printed(browser: Browser, address: str, first: int) -> tuple[str, PdfReader]:
    """Title and PDF of the page at `address`; `first` is the number on its first sheet."""
    page = browser.new_page(color_scheme="light")
    page.goto(address, wait_until="load")
    wait_until_drawn(page)
    page.add_style_tag(content=f"html {{ counter-reset: page {first - 1}; }}")
    page.emulate_media(media="print")
    title, pdf = page.locator("article h1").inner_text(), page.pdf(prefer_css_page_size=True)
    page.close()
    return title, PdfReader(BytesIO(pdf))


def links(pdf: PdfReader | PdfWriter) -> Iterator[DictionaryObject]:
    return (link.get_object() for sheet in pdf.pages for link in sheet.annotations or ())


def unname(pdf: PdfReader) -> None:
    """Give links within a page the place itself for its name, since all chapters have the same names, such as exercises."""
    for link in links(pdf):
        if link.get("/Dest") in pdf.named_destinations:
            link[NameObject("/Dest")] = pdf.named_destinations[link["/Dest"]].dest_array


def redirect(action: DictionaryObject, starts: Mapping[str, PageObject], published: str) -> None:
    """Make a link that leads to a file on this machine lead to its page in the PDF, or else to the published book."""
    address, anchor = urldefrag(action.get("/URI", ""))
    if address in starts:
        place = ArrayObject([starts[address].indirect_reference, NameObject("/Fit")])
        action.clear()
        action.update({NameObject("/S"): NameObject("/GoTo"), NameObject("/D"): place})
    elif address.startswith(HTML.as_uri()):
        there = address.replace(f"{HTML.as_uri()}/", published)
        action[NameObject("/URI")] = TextStringObject(f"{there}#{anchor}" if anchor else there)


def print_book(browser: Browser) -> PdfWriter:
    """All pages as one document, with a bookmark for each."""
    book, starts = PdfWriter(), {}
    for name in pages():
        address, before = (HTML / f"{name}.html").as_uri(), len(book.pages)
        title, pdf = printed(browser, address, before + 1)
        unname(pdf)
        book.append(pdf, outline_item=title)
        starts[address] = book.pages[before]
    published = yaml.safe_load((ROOT / "_config.yml").read_text())["html"]["baseurl"]
    for link in links(book):
        redirect(link.get("/A", DictionaryObject()), starts, published)
    return book


def main() -> None:
    with sync_playwright() as playwright:
        try:
            browser = launch(playwright)
        except RuntimeError as error:
            print(
                f"print_book: {error}.\nThe pages are built; only the PDF, to which the front page links, is missing."
            )
            return
        book = print_book(browser)
    book.add_metadata({"/Title": "Gradients Leak"})
    book.compress_identical_objects()
    book.write(PDF)


if __name__ == "__main__":
    main()
