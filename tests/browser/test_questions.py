"""What helps a reader to learn: questions that answer, terms that are explained, marks of one look."""

import re

import pytest
from playwright.sync_api import expect

SIGNS = "cells => cells.map(cell => getComputedStyle(cell, '::before').content)"


@pytest.fixture
def questions(look, site):
    """The questions of the first chapter, none of them answered."""
    return look(site, "notebooks/01_what_a_gradient_gives_away").page.locator(".dlg-question").all()


def answer(question, k):
    """Choose answer `k` and press the button, with the keyboard alone."""
    question.get_by_role("radio").nth(k).press(" ")
    question.get_by_role("button", name="Check").press("Enter")
    return question.get_by_role("status").inner_text()


def test_every_answer_is_explained_and_one_is_right(chapter):
    questions = chapter.page.locator(".dlg-question")
    assert questions.count() == 3
    for question in questions.all():
        replies = [answer(question, k) for k in range(question.get_by_role("radio").count())]
        assert all(re.fullmatch(r"(Right|No)\. .{20,}", reply) for reply in replies)
        assert sum(reply.startswith("Right.") for reply in replies) == 1
        assert len(set(replies)) == len(replies) >= 2


def test_questions_and_answers_have_names(chapter):
    for group in chapter.page.locator(".dlg-question").get_by_role("group").all():
        expect(group).to_have_accessible_name(re.compile(r"\?$"))
        for radio in group.get_by_role("radio").all():
            expect(radio).to_have_accessible_name(re.compile(r"\w"))


def test_the_answers_do_not_stand_in_the_page(chapter):
    assert "widgets.question" not in chapter.page.locator("article").inner_text()


def test_without_a_choice_a_question_asks_for_one(questions):
    questions[0].get_by_role("button", name="Check").click()
    expect(questions[0].get_by_role("status")).to_have_text("Choose an answer first.")


def test_another_choice_takes_the_reply_back(questions):
    answer(questions[0], 0)
    questions[0].get_by_role("radio").nth(1).check()
    expect(questions[0].get_by_role("status")).to_be_empty()


def test_questions_do_not_disturb_each_other(questions):
    for k, question in enumerate(questions):
        question.get_by_role("radio").nth(k).check()
    for k, question in enumerate(questions):
        expect(question.get_by_role("radio").nth(k)).to_be_checked()


def test_first_uses_lead_to_the_glossary(chapter, html):
    links = chapter.page.eval_on_selector_all(
        "article a[href*='glossary.html#']", "links => links.map(link => link.hash.slice(1))"
    )
    terms = re.findall(
        r'<dt id="(term-[^"]+)"', (html / "book" / "glossary.html").read_text(encoding="utf-8")
    )
    assert len(links) >= 5
    assert set(links) <= set(terms)
    assert len(links) == len(set(links))


def test_the_three_marks_are_told_apart_by_signs_as_well_as_by_colours(chapter):
    rows = chapter.page.locator("article #takeaways tbody tr")
    colours = rows.evaluate_all("rows => rows.map(row => getComputedStyle(row).borderLeftColor)")
    signs = rows.locator("td:first-child p").evaluate_all(SIGNS)
    assert len(set(colours)) == len(set(signs)) == rows.count() == 3
