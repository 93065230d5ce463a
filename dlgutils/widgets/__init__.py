"""Things to touch, alive without a kernel: films, questions, and a lab that attacks in the page."""

from dlgutils.widgets.bowl import Bowl, bowl
from dlgutils.widgets.film import Film, film
from dlgutils.widgets.lab import Lab, lab
from dlgutils.widgets.question import Question, question

__all__ = ["Bowl", "Film", "Lab", "Question", "bowl", "film", "lab", "question"]
