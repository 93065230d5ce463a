"""Things to touch, alive without a kernel: films, questions, and a lab that attacks in the page."""

from dlgutils.widgets.blank_columns import BlankColumns, blank_columns
from dlgutils.widgets.film import Film, film
from dlgutils.widgets.lab import Lab, lab
from dlgutils.widgets.question import Question, question

__all__ = [
    "BlankColumns",
    "Film",
    "Lab",
    "Question",
    "blank_columns",
    "film",
    "lab",
    "question",
]
