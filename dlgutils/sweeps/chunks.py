"""The folder of a sweep: a manifest that describes the sweep, and a CSV file per finished chunk."""

import json
import warnings
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

import pandas as pd

from dlgutils.storage import versions, write_atomic
from dlgutils.sweeps.cells import Row


class Chunk(NamedTuple):
    """Some cells of a grid, and where their rows are kept."""

    names: Sequence[Row]  # {axis: name} of each cell
    path: Path


def split(names: Sequence[Row], size: int, folder: Path) -> list[Chunk]:
    """The cells in chunks of `size`, of which the last may be smaller."""
    chunks = []
    for start in range(0, len(names), size):
        path = folder / f"chunk-{len(chunks):06}.csv"
        chunks.append(Chunk(names[start : start + size], path))
    return chunks


def write_chunk(chunk: Chunk, measured: Sequence[Row]) -> None:
    """Write the rows of a finished chunk, one for each cell: whole, or not at all."""
    rows = []
    for names, row in zip(chunk.names, measured, strict=True):
        rows.append({**names, **row})
    content = pd.DataFrame(rows).to_csv(index=False)
    write_atomic(chunk.path, content.encode())


def read_chunk(chunk: Chunk) -> pd.DataFrame | None:
    """A finished chunk as text; None if its file is missing, cut off, or holds something else."""
    try:
        content = chunk.path.read_bytes().decode()
        table = pd.read_csv(StringIO(content), dtype=str, keep_default_na=False)
    except (FileNotFoundError, ValueError):
        return None
    if not content.endswith("\n"):
        return None
    axes = [axis for axis in chunk.names[0] if axis in table]
    found = table.to_csv(index=False, columns=axes)
    wanted = pd.DataFrame(chunk.names).to_csv(index=False)
    return table if found == wanted else None


def report(failed: Mapping[int, str], chunks: Sequence[Chunk]) -> None:
    """Warn of the chunks that failed, {number: error}. Raises ValueError if all of them did."""
    if not failed:
        return
    lines = []
    for k in sorted(failed):
        names = chunks[k].names
        lines.append(f"chunk {k}, {dict(names[0])} to {dict(names[-1])}: {failed[k]}")
    if len(failed) == len(chunks):
        raise ValueError(f"all {len(chunks)} chunks of this sweep failed: {lines[0]}")
    head = (
        f"{len(failed)} of {len(chunks)} chunks failed, their rows are missing; "
        "the same call tries them again"
    )
    warnings.warn("\n".join([head, *lines]), stacklevel=3)  # where `run_grid` was called


def open_folder(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Make `folder` the folder of the sweep that `manifest` describes, in these versions.

    Raises ValueError if it holds finished chunks of another sweep or files of something else, and
    the OSError of a folder that cannot be made or written.
    """
    path = folder / "manifest.json"
    content = json.dumps({**manifest, **versions()}, indent=1, default=float)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(
            f"{folder} cannot be made ({error.strerror}); choose another folder for this sweep"
        ) from error
    if path.exists() and any(folder.glob("chunk-*.csv")):
        _compare(folder, _read_manifest(path), json.loads(content))
    else:
        _check_empty(folder)
    write_atomic(path, content.encode())


def _check_empty(folder: Path) -> None:
    """Raises ValueError for anything but a manifest and files that were not finished."""
    names = [file.name for file in folder.iterdir() if file.suffix != ".part"]
    strange = sorted({*names} - {"manifest.json"})
    if strange:
        raise ValueError(
            f"{folder} holds {strange[0]} and is not the folder of a sweep; "
            "choose a new one for this sweep"
        )


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); delete the folder, or choose another for this sweep"
        ) from error


def _compare(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raises ValueError with the first difference between two manifests, their order included."""
    if list(old.items()) == list(new.items()):
        return
    differ = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    what = differ[0] if differ else "order of the axes"
    was = shorten(str(old.get(what, [*old])), 120, placeholder=" …")
    now = shorten(str(new.get(what, [*new])), 120, placeholder=" …")
    raise ValueError(
        f"{folder} belongs to another sweep: its {what} was {was}, now it is {now}; "
        "choose another folder for this one, or delete that one"
    )
