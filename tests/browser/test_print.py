"""The printed book, which tools/book/print_book.py makes of the built pages."""

import pytest
from pypdf import PdfReader

from tools.book.browser import pages


@pytest.fixture(scope="module")
def book(html):
    pdf = html / "gradients-leak.pdf"
    assert pdf.is_file(), "make book prints it where it finds a browser"
    return PdfReader(pdf)


@pytest.fixture(scope="module")
def sheets(book):
    """The text of every sheet, in single spaces."""
    return [" ".join(sheet.extract_text().split()) for sheet in book.pages]


@pytest.fixture(scope="module")
def bookmarks(book):
    """Title and number of the first sheet of each bookmark on the highest level."""
    return [
        (mark.title, book.get_destination_page_number(mark))
        for mark in book.outline
        if not isinstance(mark, list)
    ]


def test_every_page_has_a_bookmark(bookmarks):
    assert len(bookmarks) == len(pages())
    assert [sheet for _, sheet in bookmarks] == sorted({sheet for _, sheet in bookmarks})


def test_bookmarks_lead_to_the_titles(bookmarks, sheets):
    for title, sheet in bookmarks:
        assert title in sheets[sheet]


def test_chapters_are_printed_to_the_end(bookmarks, sheets):
    starts = [sheet for _, sheet in bookmarks] + [len(sheets)]
    for name, first, after in zip(pages(), starts, starts[1:], strict=False):
        if name.startswith("notebooks/0"):
            text = " ".join(sheets[first:after])
            assert text.index("Takeaways") < text.index("Exercises") < text.index("References")


def test_sheets_are_numbered_through(sheets):
    assert [
        number for number, text in enumerate(sheets, 1) if str(number) not in text.split()
    ] == []


def test_nothing_folded_is_left_out(sheets):
    # of solutions, which the page shows on request only: the text of one, the code of another
    everything = " ".join(" ".join(sheets).split())
    assert "Two rows are two mixtures of the same two images" in everything
    assert "as found, then in the client's order" in everything


def test_a_film_that_plays_is_printed_at_its_end(sheets):
    assert "after 100 guesses" in sheets[0]


def test_links_lead_into_the_book_or_to_the_web(book):
    """Never to a file of the machine that printed."""
    links = [link.get_object() for sheet in book.pages for link in sheet.annotations or ()]
    actions = [link["/A"] for link in links if "/A" in link]
    assert any(action["/S"] == "/GoTo" for action in actions)
    assert [
        action["/URI"]
        for action in actions
        if action["/S"] == "/URI" and not action["/URI"].startswith("http")
    ] == []
    assert [
        link["/Dest"] for link in links if isinstance(link.get("/Dest"), str)
    ] == []  # chapters share their names


def test_size_is_reasonable(html):
    assert (html / "gradients-leak.pdf").stat().st_size < 10e6
