"""Any experiment as one table, computed in chunks that survive an interruption.

Chunks are computed by `joblib.Parallel`, so the caller says where:
`with joblib.parallel_config(n_jobs=4)` for processes, `joblib.parallel_config(backend="dask")` or
`(backend="ray", n_jobs=-1)` for a cluster. Its workers need this library, but not the folder
`out`, and one thread each: a process computes one chunk at a time. Under dask, a chunk that kills
four workers, for lack of memory for example, never ends, since dask does not report it to joblib:
interrupt the sweep, and start it elsewhere with smaller chunks.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from dlgutils.data import read_table
from dlgutils.sweeps.cells import Axis, cells_of, combinations, name_axes, name_of
from dlgutils.sweeps.chunks import open_folder, read_chunk, report, split, write_chunk
from dlgutils.sweeps.workers import Trial, run_chunks


def run_grid(
    trial: Trial,
    grid: Mapping[str, Axis],
    out: str | Path,
    *,
    chunk: int = 64,
    retries: int = 1,
    progress: bool = False,
) -> pd.DataFrame:
    """The table of an experiment of your own: a row per cell of the grid.

    The cells are all combinations of the axes, the last one fastest. A row holds the names of the
    cell's values, then what `trial` measured.

    Args:
        trial: the experiment; takes a list of cells, {axis: value}, and returns a row for each,
            {column: number, text or None}.
        grid: {axis: values}. A value is called by its name in the table: {name: value} gives one;
            numbers, text, attacks and functions have one.
        out: the folder of this sweep, made if it is missing. Each finished chunk is a CSV file
            there, so the same call goes on where an interrupted one stopped, and returns the same
            table. A folder belongs to one grid, trial, chunk and version of the library, all
            compared by name: after changing what a name stands for, choose another folder.
        chunk: how many cells `trial` gets at a time.
        retries: how often a chunk that failed is tried again, after all others. If it still fails,
            a warning says why and the table lacks its rows; the same call tries it again.
        progress: show a tqdm bar, one tick a chunk.

    Raises ValueError for chunk < 1, retries < 0, an axis that is empty or not a list, values
    without a name or of equal names, for a folder of another sweep, and if every chunk failed.
    Raises the OSError of a folder that cannot be written.
    """
    if chunk < 1 or retries < 0:
        raise ValueError(
            f"a sweep needs chunk >= 1 and retries >= 0, got chunk={chunk} and retries={retries}"
        )
    axes = name_axes(grid)
    chunks = split(combinations(axes), chunk, Path(out))
    manifest = {"trial": name_of(trial), "chunk": chunk}
    manifest |= {f"axis {axis}": list(names) for axis, names in axes.items()}
    open_folder(Path(out), manifest)
    tables = [read_chunk(one) for one in chunks]
    done = sum(table is not None for table in tables)
    failed: dict[int, str] = {}
    with tqdm(
        desc="sweep", unit="chunk", initial=done, total=len(chunks), disable=not progress
    ) as bar:
        for _ in range(1 + retries):
            missing = [k for k, table in enumerate(tables) if table is None]
            todo = {k: cells_of(axes, chunks[k].names) for k in missing}
            for k, answer in run_chunks(trial, todo):
                if isinstance(answer, str):
                    failed[k] = answer
                else:
                    write_chunk(chunks[k], answer)
                    tables[k] = read_chunk(chunks[k])
                    failed.pop(k, None)
                    bar.update()
                bar.set_postfix(failed=len(failed), refresh=False)
    report(failed, chunks)
    finished = [table for table in tables if table is not None]
    return read_table(pd.concat(finished).to_csv(index=False))
