"""Every work that is cited anywhere is in the bibliography, and every entry is cited."""

import re
from functools import cache
from pathlib import Path

import pytest

from tools.chapters import NOTEBOOKS, read

ROOT = Path(__file__).resolve().parents[2]
BIBLIOGRAPHY = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
ENTRIES = re.split(r"^(?=@)", BIBLIOGRAPHY, flags=re.MULTILINE)[1:]
ARXIV = re.compile(r"(?:arXiv:|arxiv\.org/abs/)(\d{4}\.\d{4,5})")
DOI = re.compile(r"(?:doi:|doi\.org/)(10\.\d{4,}/[\w./()-]*[\w-])")
AUTHOR = r"(?:[A-Z][a-z]+(?:-[A-Z][a-z]+)?|[A-Z]\w*[äöüßéèøšćåłñ]\w*)"
NAMED = re.compile(
    rf"\b({AUTHOR})(?:(?:, {AUTHOR})*,? (?:&|and) {AUTHOR}| et al\.)?,? \(?((?:19|20)\d\d)\b"
)
MONTHS = "January February March April May June July August September October November December"


@cache
def prose():
    """{file: its text} of everything that may cite: chapters, pages, and the library's docs."""
    files = [*ROOT.glob("book/*.md"), ROOT / "README.md", ROOT / "benchmarks" / "RESULTS.md"]
    files += ROOT.glob("dlgutils/**/*.py")
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    for path in NOTEBOOKS.glob("*.ipynb"):
        texts[path] = "\n".join(cell.text for cell in read(path))
    return texts


def cited(pattern):
    """{what the pattern finds: a file in which it stands}."""
    return {
        match.groups(): path.name
        for path, text in prose().items()
        for match in pattern.finditer(text)
    }


def field(entry, name):
    """The value of a field of an entry, without its braces."""
    match = re.search(rf"^\s*{name}\s*=\s*{{(.*)}},?$", entry, re.MULTILINE)
    return re.sub(r"[{}]", "", match[1]) if match else ""


def test_every_arxiv_number_is_in_the_bibliography():
    known = set(re.findall(r"\d{4}\.\d{4,5}", BIBLIOGRAPHY))
    assert {key[0]: where for key, where in cited(ARXIV).items() if key[0] not in known} == {}


def test_every_doi_is_in_the_bibliography():
    known = {field(entry, "doi").lower() for entry in ENTRIES}
    missing = {key[0]: where for key, where in cited(DOI).items() if key[0].lower() not in known}
    assert missing == {}


def test_every_author_with_a_year_is_in_the_bibliography():
    known = [(field(entry, "author"), field(entry, "year")) for entry in ENTRIES]

    def is_known(name, year):
        return any(name in authors and year == when for authors, when in known)

    found = cited(NAMED).items()
    missing = {key: where for key, where in found if not is_known(*key)}
    assert {key: where for key, where in missing.items() if key[0] not in MONTHS.split()} == {}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry[1:60].split(",")[0])
def test_every_entry_is_cited(entry):
    key = re.match(r"@\w+{(\w+)", entry)[1]
    everything = "\n".join(prose().values())
    numbers = [*ARXIV.findall(entry), field(entry, "doi")]
    first = re.split(r",| and ", field(entry, "author"))[0]
    named = rf"\b{re.escape(first)}\b[\s\S]{{0,60}}?{field(entry, 'year')}"
    known = [key, *(number for number in numbers if number)]
    assert any(name in everything for name in known) or re.search(named, everything)
    assert field(entry, "title")
    assert field(entry, "author")
    assert re.fullmatch(r"\d{4}", field(entry, "year"))
