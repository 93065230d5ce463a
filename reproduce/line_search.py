"""Chapter 6 with other fruits, weights and starts: what a line search saves, and what it does not.

`python -m reproduce.line_search [first seed] [after the last]` prints a Markdown table. It takes
about a minute for each seed, and adds the seeds up.
"""

import sys
from collections import Counter
from dataclasses import replace
from itertools import product

import torch
from torch import Generator
from tqdm.auto import tqdm

import dlgutils as du
from dlgutils import Attack, attacks, data, federated, metrics, models
from dlgutils.matching.optimizers import lbfgs
from reproduce.inputs import INITIALISERS, one_image
from reproduce.tables import print_table

ATTACKS = {
    "reference loop": attacks.idlg_reference,
    "line search": replace(attacks.idlg_reference, optimizer=lbfgs()),
}
FRUITS = 12
STEPS = 400


def counted(attack: Attack, init: str, seed: int, steps: int = STEPS) -> Counter[str]:
    """Of twelve fruits, each on weights of its own: how many end recognisable, identified, lost.

    init: of INITIALISERS. seed: of the fruits, of their weights and starts. steps: evaluations.
    """
    fruits, model = data.fruits(), models.lenet(classes=14)
    drawn = torch.randperm(len(fruits.x), generator=Generator().manual_seed(seed))[:FRUITS]
    seeds = range(1000 * seed, 1000 * seed + FRUITS)
    rounds = []
    for k, own in zip(drawn.tolist(), seeds, strict=True):
        generator = Generator().manual_seed(own)
        one = federated.honest(model, one_image(fruits, k), generator, init=INITIALISERS[init])
        rounds.append(one.shared)
    result = du.invert(model, rounds, attack, seeds=seeds, steps=steps)
    last = result.frames[-1, :, 0]
    mse = metrics.mse(last, fruits.x[drawn])
    own = metrics.identified(last, fruits.x[drawn], fruits.x)
    marks = {"recognisable": mse < 1e-2, "identified": own, "lost": mse > 2}
    return Counter({name: int(mark.sum()) for name, mark in marks.items()})


def main(first: str = "1", after: str = "10") -> None:
    """Print the table."""
    seeds = range(int(first), int(after))
    cells = list(product(INITIALISERS, ATTACKS))
    rows = []
    for init, name in tqdm(cells):
        found = sum((counted(ATTACKS[name], init, seed) for seed in seeds), Counter())
        marks = ("recognisable", "identified", "lost")
        rows.append((init, name, *[f"{found[mark]} of {FRUITS * len(seeds)}" for mark in marks]))
    print_table(("weights", "attack", "MSE < 1e-2", "identified", "lost: MSE > 2"), rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
