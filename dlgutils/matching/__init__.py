"""Gradient matching: the engine, and what its recipes are made of."""

from dlgutils.matching.engine import invert
from dlgutils.matching.problem import decode_guess, objective
from dlgutils.matching.record import frame_schedule

__all__ = ["decode_guess", "frame_schedule", "invert", "objective"]
