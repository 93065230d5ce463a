"""Things to touch, alive without a kernel: films, questions, and a lab that attacks in the page."""

from dlgutils.widgets.lab import Film, Lab, Question, film, lab, question

__all__ = ["Film", "Lab", "Question", "film", "lab", "question"]
