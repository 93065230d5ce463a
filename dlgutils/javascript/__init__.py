"""PyTorch functions, and the book's attacks, as JavaScript for a page without a kernel."""

from dlgutils.javascript.translate import compile
from dlgutils.javascript.worker import ATTACKS, worker_source

__all__ = ["ATTACKS", "compile", "worker_source"]
