"""The image by linear algebra, layer by layer: `recover`."""

from dlgutils.analytic.closed_form.recover import Layer, Solution, linear_input, recover

__all__ = ["Layer", "Solution", "linear_input", "recover"]
