"""Moves in the next commit."""

from dlgutils.analytic.masks import Separation, separate

__all__ = ["Separation", "separate"]
