"""What leads into the book: film, doors and cards of the front page, previews of links, copies."""

import json
import re
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import pytest
import yaml
from playwright.sync_api import expect

from tools.book.browser import ROOT, pages

FRONT = pages()[0]
CHAPTERS = [page for page in pages() if page.startswith("notebooks/")]
PUBLISHED = yaml.safe_load((ROOT / "_config.yml").read_text())["html"]["baseurl"]


@pytest.fixture(scope="module")
def front(look, site):
    """The front page, open."""
    return look(site, FRONT).page


def preview(page: Path) -> dict[str, str]:
    """What other sites read of a built page: {"og:title": ...}."""
    pattern = r'<meta property="(og:[\w:]+)" content="([^"]*)"'
    found = re.findall(pattern, page.read_text(encoding="utf-8"))
    return {name: unescape(content) for name, content in found}


def shown_without_scrolling(element) -> bool:
    box = element.bounding_box()
    window = element.page.viewport_size
    bottom = box["y"] + box["height"]
    right = box["x"] + box["width"]
    return box["y"] >= 0 and bottom <= window["height"] and right <= window["width"]


# The front page -----------------------------------------------------------------------------------


def test_front_page_shows_film_and_doors_at_once(front):
    front.set_viewport_size({"width": 1440, "height": 900})
    pictures = front.locator(".dlg canvas").all()
    doors = front.locator(".doors .sd-card").all()
    for element in (front.locator("h1").last, *pictures, *doors):
        assert shown_without_scrolling(element)


def test_front_page_shows_title_and_film_at_once_on_a_phone(front):
    front.set_viewport_size({"width": 390, "height": 844})
    pictures = front.locator(".dlg canvas").all()
    for element in (front.locator("h1").last, *pictures):
        assert shown_without_scrolling(element)


def test_front_page_has_doors_that_lead_into_the_book(front):
    links = front.locator(".doors .sd-card a")
    doors = links.evaluate_all("links => links.map(link => link.href)")
    names = [re.search(r"notebooks/(\w+)\.\w+$", door)[1] for door in doors]
    first = Path(CHAPTERS[0]).name
    assert list(dict.fromkeys(names)) == [first, "lab"]  # to Colab only once there is an address


def test_front_page_shows_no_code_of_its_own(front):
    assert front.locator(".cell").count() == 1
    assert front.locator(".cell_input").count() == 0


def test_front_page_has_a_card_with_its_picture_for_every_chapter(front, html):
    cards = front.locator(".chapters .sd-card")
    assert cards.count() == len(CHAPTERS)
    for card, chapter in zip(cards.all(), CHAPTERS, strict=True):
        assert card.locator("a").get_attribute("href").removesuffix(".html").endswith(chapter)
        picture = card.locator("img")
        assert picture.evaluate("image => image.complete && image.naturalWidth") == 1200
        tags = preview(html / f"{chapter}.html")
        assert picture.get_attribute("alt") == tags["og:image:alt"]
        shown = tags["og:image"].removeprefix(PUBLISHED)
        assert picture.evaluate("image => image.src").endswith(shown)


# Every page ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", pages())
def test_page_has_a_preview_for_links_to_it(name, html):
    tags = preview(html / f"{name}.html")
    assert tags["og:url"] == urljoin(PUBLISHED, f"{name}.html")
    assert tags["og:title"].strip()
    assert tags["og:image:alt"].strip()
    assert (html / tags["og:image"].removeprefix(PUBLISHED)).is_file()
    assert 0 < len(tags["og:description"]) <= 200
    assert not re.search(r"[\\$<>]", tags["og:description"])


def test_chapter_lets_its_code_be_copied(chapter):
    cells = chapter.page.locator(".cell_input")
    assert cells.count() > 0
    for cell in cells.all():
        expect(cell.locator("button.copybtn")).to_have_count(1)


def test_copy_button_takes_the_code(chapter, site):
    chapter.page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site)
    cell = chapter.page.locator(".cell_input").first
    cell.locator("button.copybtn").dispatch_event("click")
    expect(cell.locator("button.copybtn")).to_have_class(re.compile("success"))
    copied = chapter.page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == cell.locator("pre").text_content().strip()


def test_chapter_can_be_downloaded_as_a_notebook(chapter):
    button = chapter.page.locator("a.btn-download-source-button[href$='.ipynb']")
    with chapter.page.expect_download() as download:
        button.dispatch_event("click")
    sent = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    ours = json.loads((ROOT / f"{chapter.name}.ipynb").read_text(encoding="utf-8"))
    assert [cell["source"] for cell in sent["cells"]] == [cell["source"] for cell in ours["cells"]]
