"""A question to check oneself with, which explains each of its answers, without a kernel."""

from collections.abc import Mapping

from traitlets import Int, List, Unicode

from dlgutils.widgets.base import Widget, front_end, synced


class Question(Widget):
    """A question with several answers, each of them explained; make it with `question`."""

    _esm = front_end("question")
    text = synced(Unicode())
    # [answer]: the answer, and why it is right or wrong
    answers = synced(List())
    # the place of the right one
    right = synced(Int(0))


def question(text: str, answers: Mapping[str, str], *, right: str) -> Question:
    """A question: choose one of the answers, and read why it is right or wrong.

    text: the question. answers: the reasons by answer, in the order in which they are shown. right:
    the right answer. `Backticks` mark code, in all texts. The question works without a kernel, as
    often as the reader likes; nothing is counted or kept.

    Raises ValueError for fewer than two answers, and for a right one that is not among them.
    """
    choices = list(answers)
    if len(choices) < 2:
        raise ValueError(f"a question needs at least two answers to choose from, got {choices}")
    if right not in choices:
        raise ValueError(f"the right answer is one of {choices}, got {right!r}")
    pairs = [list(pair) for pair in answers.items()]
    return Question(text=text, answers=pairs, right=choices.index(right))
