"""The image by linear algebra, layer by layer: `recover`."""

from dlgutils.analytic.closed_form.records import Layer, Solution
from dlgutils.analytic.closed_form.recover import recover
from dlgutils.analytic.rank_one import linear_input

__all__ = ["Layer", "Solution", "linear_input", "recover"]
