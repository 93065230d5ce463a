"""Chapters keep their budgets, and their exercises can be done."""

import pytest

from tools.chapters import chapters

CHAPTERS = chapters()


@pytest.fixture(params=CHAPTERS, ids=lambda found: found.name)
def chapter(request):
    """Each chapter in turn."""
    return request.param


def solutions(chapter):
    """(its text, the code after it) for every solution of the chapter."""
    pairs = zip(chapter.exercises, chapter.exercises[1:], strict=False)
    return [(a, b) for a, b in pairs if a.text.startswith("<details><summary>Solution<")]


def test_a_chapter_is_as_long_as_agreed(chapter):
    assert 1200 <= chapter.words <= 2000
    assert 10 <= len(chapter.code) <= 18


def test_the_code_of_a_chapter_fits_a_phone(chapter):
    assert chapter.lines <= 15
    assert chapter.columns <= 60


def test_the_cell_that_installs_is_not_in_the_book(chapter):
    install = next(cell for cell in chapter.main if cell.kind == "code")
    assert install.tags == {"remove-cell"}


def test_every_exercise_has_a_cell_to_work_in_and_a_solution_that_is_checked(chapter):
    starters = [cell for cell in chapter.exercises if cell.kind == "code" and not cell.tags]
    found = solutions(chapter)
    assert 3 <= len(found) <= 5
    assert len(starters) == len(found)
    for text, code in found:
        assert text.text.rstrip().endswith("</details>")
        assert code.kind == "code"
        assert code.tags == {"hide-cell"}
        assert "assert" in code.text
