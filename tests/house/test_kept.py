"""What the book keeps between two builds, and what it makes again."""

import sys

import nbformat
import pytest
from jupyter_cache import get_cache
from jupyter_cache.cache.main import CacheBundleIn

from tools.book import build_pages, kept, pictures, reads, run_chapters

LIBRARY = {
    "dlgutils/__init__.py": "",
    "dlgutils/bread.py": "SLICES = 1\n",
    "dlgutils/cake.py": "from dlgutils import bread\n\nPIECES = bread.SLICES\n",
    "dlgutils/data.py": "def table(name): ...\n",
    "dlgutils/tables/prices.csv": "1\n",
    "requirements.txt": "flour==1\n",
}
CHAPTERS = {
    "1": "from dlgutils import bread\nbread.SLICES",
    "2": "from dlgutils import cake\ncake.PIECES",
    "3": "import dlgutils as du\ndu.data.table('prices')",
    "4": "1 + 1",
}
CHANGES = {
    "nothing": set(),
    "dlgutils/cake.py": {"2"},
    "dlgutils/bread.py": {"1", "2"},
    "dlgutils/__init__.py": set(),
    "dlgutils/data.py": {"3"},
    "dlgutils/tables/prices.csv": {"3"},
    "requirements.txt": {"1", "2", "3", "4"},
    "4.ipynb": {"4"},
}


@pytest.fixture
def kitchen(tmp_path):
    """A library, and chapters whose outputs are in a cache: (folder, cache, chapters)."""
    for name, text in LIBRARY.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    cache = get_cache(tmp_path / "cache")
    books = [write_book(tmp_path / f"{name}.ipynb", code) for name, code in CHAPTERS.items()]
    run_chapters.prepare(cache, books, run_chapters.digests(cache, books, tmp_path))
    for book in books:
        content = nbformat.read(book, nbformat.NO_CONVERT)
        bundle = CacheBundleIn(content, str(book), data={"execution_seconds": 1.0})
        cache.cache_notebook_bundle(bundle, check_validity=False)
    return tmp_path, cache, books


def write_book(path, code):
    """A notebook of one cell, at `path`."""
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), path)
    return path


def out_of_date(folder, cache, books):
    """The chapters that would run now."""
    reads.tree.cache_clear()  # as another process would
    reads.bound.cache_clear()
    run_chapters.prepare(cache, books, run_chapters.digests(cache, books, folder))
    return {record.uri.rpartition("/")[2][0] for record in cache.list_unexecuted()}


@pytest.mark.parametrize("changed", CHANGES)
def test_chapters_run_again_when_what_they_reach_has_changed(changed, kitchen):
    folder, *_ = kitchen
    if changed.endswith(".ipynb"):
        write_book(folder / changed, "2 + 2")
    elif changed != "nothing":
        path = folder / changed
        path.write_text(path.read_text() + "\n")
    assert out_of_date(*kitchen) == CHANGES[changed]


def test_outputs_of_an_older_library_do_not_come_back_with_older_cells(kitchen):
    folder, *_ = kitchen
    write_book(folder / "1.ipynb", "0")
    assert out_of_date(*kitchen) == {"1"}
    (folder / "dlgutils/bread.py").write_text("SLICES = 2\n")
    write_book(folder / "1.ipynb", CHAPTERS["1"])
    assert out_of_date(*kitchen) == {"1", "2"}


def test_outputs_without_a_digest_are_thrown_away(kitchen):
    folder, *_ = kitchen
    (folder / "cache" / "digests.json").unlink()
    assert out_of_date(*kitchen) == set(CHAPTERS)


def test_a_library_that_changes_while_chapters_run_makes_them_run_again(kitchen):
    folder, cache, books = kitchen
    before = run_chapters.digests(cache, books, folder)
    (folder / "dlgutils/cake.py").write_text("PIECES = 3\n")
    run_chapters.forget_changed(cache, before, run_chapters.digests(cache, books, folder))
    (folder / "dlgutils/cake.py").write_text(LIBRARY["dlgutils/cake.py"])
    assert out_of_date(*kitchen) == {"2"}


@pytest.mark.slow
def test_run_says_which_chapters_failed_and_drops_their_pages(tmp_path, capsys):
    """Slow, some seconds: two kernels start."""
    books = [write_book(tmp_path / f"{n}.ipynb", code) for n, code in (("a", "1"), ("b", "1 / 0"))]
    cache = get_cache(tmp_path / "cache")
    run_chapters.prepare(cache, books, run_chapters.digests(cache, books))
    doctrees = [tmp_path / "notebooks" / f"{name}.doctree" for name in "abc"]
    for doctree in doctrees:
        doctree.parent.mkdir(exist_ok=True)
        doctree.touch()
    assert run_chapters.run(cache, tmp_path) == [str(books[1])]
    assert [doctree.exists() for doctree in doctrees] == [False, False, True]
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert len(cache.list_cache_records()) == 1


# Digests


def test_digest_tells_names_and_contents_apart(tmp_path):
    (tmp_path / "requirements.txt").touch()
    found = set()
    for name, text in (("a", "bc"), ("ab", "c"), ("a", "")):
        (tmp_path / name).write_text(text)
        found.add(kept.digest([tmp_path / name], tmp_path))
    (tmp_path / "requirements.txt").write_text("x")
    assert len(found | {kept.digest([tmp_path / "a"], tmp_path)}) == 4


def test_note_keeps_the_others_and_forgets_what_is_none(tmp_path):
    store = tmp_path / "inner" / "digests.json"
    assert kept.noted(store) == {}
    kept.note({"a": "1", "b": "2"}, store)
    kept.note({"a": None, "c": "3"}, store)
    assert kept.noted(store) == {"b": "2", "c": "3"}
    store.write_text("{")
    assert kept.noted(store) == {}


def test_pictures_depend_on_their_script_and_what_it_reaches():
    cards = {path.name for path in pictures.sources(pictures.CARDS)}
    assert {"draw_cards.py", "networks.py", "recover.py", "photos64.npz"} <= cards
    assert "worker.js" not in cards
    assert len(pictures.sources(pictures.FLOORS)) > 100


# Pages


def test_settings_are_all_but_prose():
    names = {path.relative_to(kept.ROOT).as_posix() for path in build_pages.settings()}
    theirs = {"_config.yml", "_toc.yml", "book/references.bib", "dlgutils/metrics.py"}
    assert theirs | {"tools/book/addresses.py"} <= names
    assert not any(name.startswith(("notebooks", "book/intro")) for name in names)


@pytest.fixture
def builds(tmp_path, monkeypatch):
    """build(status) runs `build_pages` with a stand-in for Jupyter Book that ends so."""
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "_config.yml").write_text("1")
    monkeypatch.setattr(kept, "DIGESTS", tmp_path / "digests.json")
    for name, path in (("ROOT", "."), ("DOCTREES", "doctrees"), ("HTML", "html")):
        monkeypatch.setattr(build_pages, name, tmp_path / path)
    program = tmp_path / "jupyter-book"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    def build(status=0):
        doctree = tmp_path / "doctrees" / "page.doctree"
        text = f"#!/bin/sh\ntest -e {doctree} && touch {tmp_path}/kept\n"
        program.write_text(f"{text}mkdir -p {doctree.parent}; touch {doctree}\nexit {status}\n")
        program.chmod(0o755)
        (tmp_path / "kept").unlink(missing_ok=True)
        with pytest.raises(SystemExit) as end:
            build_pages.main()
        assert end.value.code == status
        return (tmp_path / "kept").exists()

    return build


def test_pages_that_were_read_are_kept_until_something_else_changes(builds, tmp_path):
    assert not builds()
    assert builds()
    (tmp_path / "_config.yml").write_text("2")
    assert not builds()
    assert builds()


def test_nothing_is_kept_of_a_build_that_failed(builds):
    assert not builds(1)
    assert not builds()
    assert builds(1)
    assert not builds()
