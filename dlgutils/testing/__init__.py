"""One contract for every attack: call `check_attack` on a recipe of your own, in a test."""

from dlgutils.testing.contract import CLAUSES, check_attack
from dlgutils.testing.tiny import tiny_round

__all__ = ["CLAUSES", "check_attack", "tiny_round"]
