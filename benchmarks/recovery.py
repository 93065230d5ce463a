"""How many of the twelve photographs come back, with this library's defaults and with the reference behaviour?

One run each, its own seed for weights and start. Prints one Markdown row per initialisation, attack and number of
evaluations: labels right, and images below MSE 1e-2 and 1e-3, with Wilson intervals.
"""

import torch
from tqdm.auto import tqdm

import dlgutils as du
from dlgutils import attacks, data, metrics, models

INITIALISERS = {"default": models.init_default, "wide": models.init_uniform}
RECIPES = (attacks.idlg, attacks.dlg, attacks.idlg_reference, attacks.dlg_reference)
EVALUATIONS = (100, 300, 2000)


def rounds(initialise) -> tuple[list[du.Shared], du.Batch]:
    """One honest round per photograph, photograph i with weights of seed i; and the truth, runs first."""
    batch = data.photos()
    generators = [torch.Generator().manual_seed(i) for i in range(len(batch.x))]
    secrets = [du.Batch(x[None], y[None]) for x, y in zip(*batch, strict=True)]
    shared = [du.share(initialise(models.lenet(), g), s) for g, s in zip(generators, secrets, strict=True)]
    return shared, du.Batch(batch.x[:, None], batch.y[:, None])


def row(initialiser: str, attack: du.Attack, steps: int) -> str:
    """One measured row of the table."""
    shared, truth = rounds(INITIALISERS[initialiser])
    result = du.invert(models.lenet(), shared, attack, torch.Generator().manual_seed(0), steps=steps, frames=1)
    mse = metrics.mse(result.x, truth.x)
    counts = [metrics.rate(hits) for hits in (result.y == truth.y, mse < 1e-2, mse < 1e-3)]
    return " | ".join(["", initialiser, attack.name, str(steps), *map(str, counts), f"{mse.median():.1e}", ""])


def main() -> None:
    """Print the whole table."""
    head = ("initialisation", "attack", "evaluations", "labels", "MSE < 1e-2", "MSE < 1e-3", "median MSE")
    print(f"torch {torch.__version__}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    cases = [(i, a, k) for i in INITIALISERS for a in RECIPES for k in EVALUATIONS]
    for case in tqdm(cases, desc="recovery"):
        tqdm.write(row(*case).strip())


if __name__ == "__main__":
    main()
