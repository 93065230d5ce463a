"""The tables of long experiments, as they were committed."""

from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas

_FOLDER = Path(__file__).resolve().parents[1] / "tables"


def table(name: str) -> "pandas.DataFrame":
    """The table of an experiment that took too long for a chapter, as it was committed.

    "dropout_run", "dia": attackers on dropout. "dropout_cost": the accuracy that dropout costs.
    "closed_form": images without a search. "trained", "feature_matching": what networks give away
    while they are trained. "batches", "mixing", "pairs", "separation", "unmixing": how batches come
    apart. "noise_limit": attackers beside what noise allows. "defended_training": what defences
    cost in accuracy; "defenses", "defended_batches": what they leave. "fedavg", "fedavg_labels",
    "batch_norm", "quick_start": what comes back from clients of real rounds. "audits": what
    networks of torchvision give away in a minute.
    The scripts that make them are in `reproduce/`. Raises ValueError for another name.
    """
    return read_table(_committed(name, ".csv").read_text(encoding="utf-8"))


def table_pictures(name: str) -> dict[str, Tensor]:
    """The pictures that belong to a table: by name, (..., channels, height, width) in [0, 1].

    "defenses": "secrets", (images, …), and for the network "fresh" and "trained" what the best
    attackers found, (defences, images, …), the defences in the order of the table. Raises
    ValueError for a table without pictures.
    """
    with np.load(_committed(name, ".npz")) as arrays:
        return {key: torch.from_numpy(arrays[key]).float() / 255 for key in arrays}


def _committed(name: str, suffix: str) -> Path:
    """The file of that name and suffix. Raises ValueError if there is none."""
    files = {file.stem: file for file in sorted(_FOLDER.glob(f"*{suffix}"))}
    if name not in files:
        what = "table with pictures" if suffix == ".npz" else "committed table"
        raise ValueError(f"no {what} is called {name!r}; there are {', '.join(files)}")
    return files[name]


def read_table(content: str) -> "pandas.DataFrame":
    """The table in the text of a CSV file: types are found once, in whole columns; empty is NaN."""
    import pandas

    return pandas.read_csv(
        StringIO(content), keep_default_na=False, na_values=[""], low_memory=False
    )
