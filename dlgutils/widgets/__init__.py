"""Things to touch, alive without a kernel: films, bars, questions, and a lab in the page."""

from dlgutils.widgets.deltas import Deltas, deltas
from dlgutils.widgets.film import Film, film
from dlgutils.widgets.lab import Lab, lab
from dlgutils.widgets.question import Question, question

__all__ = ["Deltas", "Film", "Lab", "Question", "deltas", "film", "lab", "question"]
