"""What helps a reader to learn: questions that answer, terms that are explained, clear marks."""

import re

import pytest
from playwright.sync_api import expect

SIGNS = "cells => cells.map(cell => getComputedStyle(cell, '::before').content)"


@pytest.fixture
def questions(look, site):
    """The questions of the first chapter, none of them answered."""
    page = look(site, "notebooks/01_what_a_gradient_gives_away").page
    return page.locator(".dlg-question").all()


def answer(question, k):
    """Choose answer `k` and press the button, with the keyboard alone."""
    question.get_by_role("radio").nth(k).press(" ")
    question.get_by_role("button", name="Check").press("Enter")
    return question.get_by_role("status").inner_text()


def test_question_explains_every_answer_and_one_is_right(chapter):
    questions = chapter.page.locator(".dlg-question")
    assert questions.count() == 3
    for question in questions.all():
        choices = question.get_by_role("radio").count()
        replies = [answer(question, k) for k in range(choices)]
        assert all(re.fullmatch(r"(Right|No)\. .{20,}", reply) for reply in replies)
        assert sum(reply.startswith("Right.") for reply in replies) == 1
        assert len(set(replies)) == len(replies) >= 2


def test_question_and_its_answers_have_names(chapter):
    for group in chapter.page.locator(".dlg-question").get_by_role("group").all():
        expect(group).to_have_accessible_name(re.compile(r"\?$"))
        for radio in group.get_by_role("radio").all():
            expect(radio).to_have_accessible_name(re.compile(r"\w"))


def test_question_does_not_show_its_answers_in_the_page(chapter):
    assert "widgets.question" not in chapter.page.locator("article").inner_text()


def test_question_without_a_choice_asks_for_one(questions):
    questions[0].get_by_role("button", name="Check").click()
    expect(questions[0].get_by_role("status")).to_have_text("Choose an answer first.")


def test_question_takes_its_reply_back_at_another_choice(questions):
    answer(questions[0], 0)
    questions[0].get_by_role("radio").nth(1).check()
    expect(questions[0].get_by_role("status")).to_be_empty()


def test_question_does_not_disturb_another(questions):
    for k, question in enumerate(questions):
        question.get_by_role("radio").nth(k).check()
    for k, question in enumerate(questions):
        expect(question.get_by_role("radio").nth(k)).to_be_checked()


def test_glossary_has_the_terms_to_which_first_uses_lead(chapter, html):
    selector = "article a[href*='glossary.html#']"
    target = "links => links.map(link => link.hash.slice(1))"
    links = chapter.page.eval_on_selector_all(selector, target)
    glossary = (html / "book" / "glossary.html").read_text(encoding="utf-8")
    terms = re.findall(r'<dt id="(term-[^"]+)"', glossary)
    assert len(links) >= 5
    assert set(links) <= set(terms)
    assert len(links) == len(set(links))


def test_marks_differ_by_signs_as_well_as_by_colours(chapter):
    rows = chapter.page.locator("article #takeaways tbody tr")
    colours = rows.evaluate_all("rows => rows.map(row => getComputedStyle(row).borderLeftColor)")
    signs = rows.locator("td:first-child p").evaluate_all(SIGNS)
    assert len(set(colours)) == len(set(signs)) == rows.count() == 3
