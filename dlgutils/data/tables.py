"""The tables of long experiments, as they were committed."""

from importlib import resources
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas


def table(name: str) -> "pandas.DataFrame":
    """The table of an experiment that took too long for a chapter, as it was committed.

    "dropout_run", "dia": attackers on dropout. "dropout_cost": the accuracy that dropout costs.
    "closed_form": images without a search. "trained", "feature_matching": what networks give away
    while they are trained. "batches", "mixing", "pairs", "separation", "unmixing": how batches come
    apart. "noise_limit": attackers beside what noise allows. "defended_training": what defences
    cost in accuracy. "fedavg", "fedavg_labels", "batch_norm", "quick_start": what comes back from
    clients of real rounds. "audits": what networks of torchvision give away in a minute.
    The scripts that make them are in `reproduce/`. Raises ValueError for another name.
    """
    folder = resources.files("dlgutils") / "tables"
    files = [Path(file.name) for file in folder.iterdir()]
    names = sorted(file.stem for file in files if file.suffix == ".csv")
    if name not in names:
        raise ValueError(f"no committed table is called {name!r}; there are {', '.join(names)}")
    file = folder / f"{name}.csv"
    return read_table(file.read_text(encoding="utf-8"))


def read_table(content: str) -> "pandas.DataFrame":
    """The table in the text of a CSV file: types are found once, in whole columns; empty is NaN."""
    import pandas

    return pandas.read_csv(
        StringIO(content), keep_default_na=False, na_values=[""], low_memory=False
    )
