"""Gradient matching: the engine, and what its recipes are made of."""

from dlgutils.matching.engine import invert
from dlgutils.matching.problem import decode_guess, objective
from dlgutils.matching.record import frame_schedule
from dlgutils.matching.weighing import weighing_noise

__all__ = ["decode_guess", "frame_schedule", "invert", "objective", "weighing_noise"]
