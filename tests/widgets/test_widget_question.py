"""The question: its answers and reasons, in order."""

import pytest

from dlgutils import widgets

FRUIT = {"a tomato": "A botanist would say so.", "a rocket": "It is a leaf, or it flies."}


@pytest.mark.parametrize("right", FRUIT)
def test_question_has_its_answers_in_order_and_knows_the_right_one(right):
    question = widgets.question("Which is a fruit?", FRUIT, right=right)
    assert question.text == "Which is a fruit?"
    assert question.answers == [list(pair) for pair in FRUIT.items()]
    assert question.answers[question.right][0] == right


def test_question_carries_its_own_front_end():
    question = widgets.question("Which is a fruit?", FRUIT, right="a tomato")
    assert "fieldset" in question._esm


@pytest.mark.parametrize("answers", [{}, {"a tomato": "What else?"}], ids=len)
def test_question_without_a_choice_is_refused(answers):
    with pytest.raises(ValueError, match=r"needs at least two answers to choose from, got \["):
        widgets.question("Which is a fruit?", answers, right="a tomato")


def test_question_with_a_right_answer_that_cannot_be_chosen_is_refused():
    message = r"the right answer is one of \['a tomato', 'a rocket'\], got 'a pea'"
    with pytest.raises(ValueError, match=message):
        widgets.question("Which is a fruit?", FRUIT, right="a pea")
