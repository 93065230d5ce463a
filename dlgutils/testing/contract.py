"""One contract for every attack: call `check_attack` on a recipe of your own, in a test.

The clauses run short attacks on tiny networks in float64: they say that a recipe fits the engine,
not that it finds the image. For that, count successes on images as in `metrics.success_rate`.
"""

from collections.abc import Callable

from dlgutils.testing import clauses
from dlgutils.types import Attack

Clause = Callable[[Attack], None]

CLAUSES: tuple[Clause, ...] = (
    clauses.changes_neither_round_nor_model,
    clauses.fills_a_result,
    clauses.films_from_the_start_to_the_end,
    clauses.keeps_the_dtype,
    clauses.returns_class_ids,
    clauses.follows_its_generator,
    clauses.touches_nothing_global,
    clauses.computes_the_same_again,
    clauses.transforms_there_and_back,
    clauses.keeps_the_runs_first,
    clauses.runs_alone_as_in_company,
    clauses.attacks_the_weights_that_were_shared,
    clauses.uses_the_masks_that_it_infers,
    clauses.stops_when_its_watch_returns_true,
    clauses.keeps_what_it_has_at_ctrl_c,
)
"""What `check_attack` checks, in this order: the causes before what follows from them."""


def check_attack(attack: Attack, *, batch: int = 1) -> None:
    """Raises AssertionError unless the engine can run the attack as it runs those of `attacks`.

    Args:
        attack: the recipe.
        batch: from 2 on, that many images are attacked as well, for recipes that take a batch.

    Raises AssertionError with the clause that is broken; errors of the recipe itself pass through.
    """
    for clause in CLAUSES:
        clause(attack)
    if batch > 1:
        clauses.takes_a_batch(attack, batch)
