"""The files around the library: one address, notebooks that open anywhere, links that hold."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from tools.set_repository import FILES, HINT, current, parts, set_repository, state

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CHAPTERS = [notebook for notebook in NOTEBOOKS if notebook.name[:2].isdigit()]

# What names a repository of ours; `URL=…` is the example that shows how to set it.
NAME = r"[\w-]+(?:\.[\w-]+)*"
ADDRESSES = (
    rf"git\+https://github\.com/([\w-]+/{NAME})",
    rf"colab\.research\.google\.com/github/([\w-]+/{NAME})",
    rf"https://([\w-]+)\.github\.io(/{NAME})",
)


def strays(root):
    """Addresses under `root` that are not the one in _config.yml."""
    owner_name = "/".join(parts(current(root)))
    ours = rf"(?<!URL=)https://github\.com/([\w-]+/{re.escape(parts(current(root))[1])})\b"
    return [
        f"{path.name}: {match.group()}"
        for path in (path for pattern in FILES for path in root.glob(pattern))
        for pattern in (ours, *ADDRESSES)
        for match in re.finditer(pattern, path.read_text(encoding="utf-8"))
        if "".join(match.groups()) != owner_name
    ]


def cells(notebook, kind):
    """The sources of a notebook's cells of one kind."""
    found = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == kind]


@pytest.fixture
def copy(tmp_path):
    """A copy of every file that repeats the address."""
    for path in (path for pattern in FILES for path in ROOT.glob(pattern)):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path


def test_one_address():
    assert strays(ROOT) == []


def test_set_repository_moves_every_address(copy):
    before = "/".join(parts(current(copy)))
    changed = {
        path.relative_to(copy)
        for path in set_repository("https://github.com/some-one/their.book", copy)
    }
    assert {Path("_config.yml"), Path("README.md")} <= changed
    assert {notebook.relative_to(ROOT) for notebook in NOTEBOOKS} <= changed
    assert current(copy) == "https://github.com/some-one/their.book"
    assert strays(copy) == []
    assert not [path for path in changed if before in (copy / path).read_text(encoding="utf-8")]


def test_set_repository_can_be_undone(copy):
    address = current(copy)
    set_repository("https://github.com/me/dlgutils.git", copy)
    set_repository(address, copy)
    for path in (path for pattern in FILES for path in ROOT.glob(pattern)):
        assert (copy / path.relative_to(ROOT)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "url", ["", "dlgutils", "https://gitlab.com/me/dlgutils", "https://github.com/me"]
)
def test_set_repository_refuses_what_is_not_a_repository(url, copy):
    with pytest.raises(ValueError, match=r"write https://github\.com/owner/name"):
        set_repository(url, copy)
    assert strays(copy) == []


def test_set_repository_gives_notebooks_links_that_work_in_colab(copy):
    set_repository("https://github.com/me/dlgutils", copy)
    for path in (copy / "notebooks").glob("*.ipynb"):
        links = re.findall(r"\]\(([^)]*)\)", "\n".join(cells(path, "markdown")))
        assert links
        assert [link for link in links if not link.startswith("https://")] == []


def test_state_says_how_to_set_an_address_until_one_is_set(copy):
    set_repository("https://github.com/OWNER/dlgutils", copy)
    assert HINT in state(copy)
    set_repository("https://github.com/me/dlgutils", copy)
    assert state(copy) == "the pages link to https://github.com/me/dlgutils"


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_opens_in_colab(notebook):
    owner_name = "/".join(parts(current(ROOT)))
    link = (
        f"https://colab.research.google.com/github/{owner_name}/blob/main/notebooks/{notebook.name}"
    )
    assert f"]({link})" in cells(notebook, "markdown")[0]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_installs_its_library(notebook):
    bootstrap = cells(notebook, "code")[0]
    assert 'find_spec("dlgutils") is None' in bootstrap
    assert '"DLGUTILS_SOURCE"' in bootstrap
    assert f'"git+{current(ROOT)}@main"' in bootstrap


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stripped(notebook):
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("notebook", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_its_parts_in_order_and_ends_with_the_next(notebook):
    text = "\n".join(cells(notebook, "markdown"))
    sections = ("Does it hold up?", "Check yourself", "Takeaways", "Exercises", "References")
    back = ["**Before**"] if notebook != CHAPTERS[0] else []
    parts = ["**The question.**", *(f"## {section}" for section in sections), *back, "**Next**"]
    assert [part for part in parts if text.count(part) != 1] == []
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    last = json.loads(notebook.read_text(encoding="utf-8"))["cells"][-1]
    assert "**Next**" in "".join(last["source"])


@pytest.mark.parametrize("notebook", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_asks_three_questions_and_hides_their_answers_in_the_book(notebook):
    found = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    questions = [cell for cell in found if "".join(cell["source"]).startswith("widgets.question(")]
    assert len(questions) == 3
    for cell in questions:
        assert cell["metadata"]["tags"] == ["remove-input"]
        assert len(cell["source"]) <= 20


@pytest.mark.parametrize("notebook", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_ends_with_the_three_marks_in_the_order_of_the_style_sheet(notebook):
    text = "\n".join(cells(notebook, "markdown"))
    marks = r"^\| \*\*(published|reproduced|unknown)\b"
    assert re.findall(marks, text, re.MULTILINE) == [
        "published",
        "reproduced",
        "unknown",
    ]


def test_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\((?!\w+:|#)([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_continuous_integration_runs_make_test():
    script = ROOT / ".ci" / "run"
    assert re.search(r"^make test$", script.read_text(), re.MULTILINE)
    assert os.access(script, os.X_OK)
