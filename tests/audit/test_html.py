"""A report as a page: whole, escaped, light, and in an order that can be followed by ear."""

import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlgutils.auditing import pictures
from dlgutils.types import Batch
from tests.helpers import reports

VOID = {"meta", "img", "br"}


class Outline(HTMLParser):
    """The elements of a page, with its headings and pictures; every element is closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, words):
        if "style" not in self.open:
            self.words.append(words)

    def all(self, *tags):
        return [attributes for tag, attributes in self.elements if tag in tags]


@pytest.fixture(scope="module")
def page():
    return reports.full_report(size=64).to_html()


@pytest.fixture(scope="module")
def outline(page):
    return Outline(page)


def test_page_begins_with_the_verdict(page):
    main = page[page.index("<h1>") :]
    assert main.startswith("<h1>3 of 8 images are recognisable; all labels are read;")
    assert page.index("<h1>") < page.index("<main>")
    title = re.search("<title>(.*)</title>", page).group(1)
    assert title.startswith("CNN, 545\N{NO-BREAK SPACE}098 numbers: 3 of 8 images are recognisable")


def test_page_asks_for_nothing(page, outline):
    assert not re.search(r"https?:|//|@import|url\(", re.sub(r"base64,[^\"]*", "", page))
    assert outline.all("script", "link", "iframe") == []
    assert all(image["src"].startswith("data:image/png;base64,") for image in outline.all("img"))


def test_page_of_eight_pictures_of_64_pixels_weighs_less_than_a_megabyte(page):
    assert len(page.encode()) < 1_000_000


def test_pictures_stand_beside_their_truth_and_say_what_they_are(outline):
    images = outline.all("img")
    assert len(images) == 16
    assert images[0]["alt"] == "Image 1: the original."
    assert re.fullmatch(
        r"Image 1, as the attacker found it: recognisable, SSIM 0\.\d\d\.", images[1]["alt"]
    )
    assert all(image["class"] == "dlg-small" for image in images)


def test_page_has_language_landmarks_and_headings_in_order(outline):
    assert outline.all("html") == [{"lang": "en"}]
    for landmark in ("header", "main", "footer"):
        assert len(outline.all(landmark)) == 1
    levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    steps = [after - before for before, after in itertools.pairwise(levels)]
    assert max(steps) == 1


def test_names_that_label_a_section_exist_once(outline):
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [link["href"].removeprefix("#") for link in outline.all("a")]
    labels = [a["aria-labelledby"] for _, a in outline.elements if "aria-labelledby" in a]
    assert set(links + labels) <= set(ids)


def test_headers_of_tables_have_a_scope(outline):
    headers = outline.all("th")
    assert headers
    assert {header["scope"] for header in headers} == {"col", "row"}


def test_every_verdict_is_written_in_its_badge(outline):
    words = " ".join(" ".join(outline.words).split())
    for verdict in ("leak", "quiet", "failed"):  # in the table, and beside the details
        assert words.count(verdict) >= 2
    for verdict in ("does not apply", "not reached"):
        assert verdict in words


def test_page_says_what_leaked_where_and_what_would_change_it(outline):
    words = " ".join(" ".join(outline.words).split())
    for said in (
        "hidden.weight",
        "the features of what was found agree with those read to 2e-5",
        "32 s",
        "clip to 1 and add noise of 0.01",
        "It looked at one round",
        "one step on 8 images at once",
        "dlgutils 0.1.0",
    ):
        assert said in words


@pytest.mark.parametrize("make", ["to_html", "_repr_html_"])
def test_what_comes_from_outside_is_escaped(make):
    report = reports.hostile_report()
    html = getattr(report, make)()
    outline = Outline(html)
    assert outline.all("script") == []
    assert "&lt;script&gt;alert(&quot;1&quot;)" in html
    assert "'$style'" not in html


def with_words(name, words):
    """A quiet report with these words in it."""
    report = reports.quiet_report()
    finding = replace(report.findings[0], probe=name, told=words, read_from=(name,))
    return replace(report, model=name, protocol=words, findings=(finding,))


@given(st.text(st.characters()), st.text(st.characters()))
def test_any_words_become_a_page_and_a_table(name, words):
    report, plain = with_words(name, words), with_words("name", "words")
    tags = [tag for tag, _ in Outline(report.to_html()).elements]
    assert tags == [tag for tag, _ in Outline(plain.to_html()).elements]
    assert max(map(len, str(report).splitlines())) <= 80


@pytest.mark.parametrize("make", [reports.full_report, reports.quiet_report])
def test_fragment_stands_on_any_page(make):
    fragment = make()._repr_html_()
    outline = Outline(fragment)
    assert outline.all("script", "html", "body", "h1", "h2", "h3") == []
    assert [a for _, a in outline.elements if "id" in a] == []
    rules = re.findall(
        r"^([^\s@}/][^{]*)\{", re.search("<style>(.*)</style>", fragment, re.S)[1], re.M
    )
    assert "What would change it" in fragment
    assert "What this audit cannot see" in fragment
    assert rules
    assert all(rule.startswith(".dlg-audit") for rule in rules)


def test_quiet_page_says_that_nothing_came_back():
    page = reports.quiet_report().to_html()
    assert "No probe found an image." in page
    assert '<header class="dlg-quiet">' in page


def test_of_many_pictures_the_most_similar_are_shown_in_order():
    report = reports.full_report(12, near=2)
    twice = [Batch(*(torch.cat([part, part]) for part in batch)) for batch in pairs(report)]
    scores = replace(report.findings[3].scores, recognisable=reports.rate(4, 24))
    finding = replace(report.findings[3], found=twice[1], scores=scores)
    outline = Outline(replace(report, truth=twice[0], findings=(finding,), best=0).to_html())
    names = [image["alt"].split(":")[0] for image in outline.all("img")[::2]]
    assert len(names) == pictures.MOST
    assert {"Image 1", "Image 2", "Image 13", "Image 14"} <= set(names)
    assert names == sorted(names, key=lambda name: int(name.split()[1]))


def pairs(report):
    return report.truth, report.findings[3].found


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_data_url_takes_any_number_of_channels_and_any_number(channels):
    x = torch.full((channels, 7, 5), torch.nan)
    x[:, 0] = torch.inf
    assert pictures.data_url(x).startswith("data:image/png;base64,")


def test_data_url_reduces_large_pictures():
    noise = torch.rand(3, 400, 600, generator=torch.Generator().manual_seed(0))
    assert len(pictures.data_url(noise)) < 60_000


def test_page_has_the_names_of_classes_beside_their_numbers():
    names = tuple(f"<{k}>" for k in range(14))
    page = replace(reports.full_report(), class_names=names).to_html()
    assert "label 0 (&lt;0&gt;), read as 0 (&lt;0&gt;)" in page
