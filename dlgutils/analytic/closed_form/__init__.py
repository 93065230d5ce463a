"""The image by linear algebra, layer by layer: `recover`."""

from dlgutils.analytic.closed_form.layers import linear_input
from dlgutils.analytic.closed_form.records import Layer, Solution
from dlgutils.analytic.closed_form.recover import recover

__all__ = ["Layer", "Solution", "linear_input", "recover"]
