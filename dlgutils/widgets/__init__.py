"""Things to touch, alive without a kernel: films, figures to drag, questions, a lab in the page."""

from dlgutils.widgets.blank_columns import BlankColumns, blank_columns
from dlgutils.widgets.bowl import Bowl, bowl
from dlgutils.widgets.deltas import Deltas, deltas
from dlgutils.widgets.film import Film, film
from dlgutils.widgets.lab import Lab, lab
from dlgutils.widgets.question import Question, question
from dlgutils.widgets.tradeoff import Tradeoff, tradeoff
from dlgutils.widgets.unmixing import Unmixing, unmixing

__all__ = [
    "BlankColumns",
    "Bowl",
    "Deltas",
    "Film",
    "Lab",
    "Question",
    "Tradeoff",
    "Unmixing",
    "blank_columns",
    "bowl",
    "deltas",
    "film",
    "lab",
    "question",
    "tradeoff",
    "unmixing",
]
