"""Many runs as one table: a grid of experiments in chunks that survive an interruption and travel to a cluster.

Chunks are computed by `joblib.Parallel`, so the caller says where: `with joblib.parallel_config(n_jobs=4)` for processes,
`joblib.parallel_config(backend="dask")` or `(backend="ray", n_jobs=-1)` for a cluster. Its workers need this library, but
not the folder `out`, and one thread each: a process attacks one chunk at a time. Under dask, a chunk that kills four
workers, for lack of memory say, is never answered (joblib does not hear of it): interrupt the sweep, and start it elsewhere
with smaller chunks.
"""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from io import StringIO
from itertools import islice, product
from numbers import Real
from pathlib import Path
from textwrap import shorten
from threading import Lock
from typing import Any, NamedTuple

import pandas as pd
import torch
from joblib import Parallel, delayed, effective_n_jobs
from torch import Generator, nn
from tqdm.auto import tqdm

from dlgutils import attacks, data, federated, metrics, models
from dlgutils.matching.engine import invert
from dlgutils.storage import versions, write_atomic
from dlgutils.types import Attack, Batch, Shared

Axis = Iterable[Any] | Mapping[str, Any]
"""The values along one axis of a grid, or {what the table calls it: value}."""

Cell = Mapping[str, Any]
"""One combination of the axes: {axis: value}."""

Row = Mapping[str, Any]
"""What was measured in a cell: {column: number, text or None}."""

Trial = Callable[[Sequence[Cell]], Sequence[Row]]
"""An experiment: cells -> a row for each."""

_ONE_AT_A_TIME = Lock()  # layers draw their weights from the one global generator of their process

_AXES: Mapping[str, Axis] = {
    "image": data.class_names("photos"),
    "seed": [0],
    "rate": [0.0],
    "attack": [attacks.idlg],
    "init": [models.init_default],
    "model": [models.lenet],
}


def sweep(
    grid: Mapping[str, Axis],
    out: str | Path,
    *,
    steps: int = 300,
    device: str = "cpu",
    chunk: int = 64,
    retries: int = 1,
    progress: bool = False,
) -> pd.DataFrame:
    """Attack one image in every combination of the axes: a row per run, all runs of a kind in a chunk through one `invert`.

    The axes, each a list of values or {name in the table: value}; an axis left out has the one value in brackets:
    image, names of `data.photos` or batches of one image (all twelve photographs); seed, of the weights, of the client's
    mask and of the attacker (0); rate, of dropout (0.0); attack (`attacks.idlg`); init (`models.init_default`);
    model, called with x_shape and dropout (`models.lenet`).
    The columns after the axes: evaluations, until the run stopped, at most `steps`; loss, its lowest matching loss; mse
    against the truth; label_right. The dtype of the attack is that of the image.

    device: of the attacks, on the machine of the worker. out, chunk, retries, progress, errors: as in `run_grid`. Put the
    axes that one `invert` can take together, image, seed and init, last: they vary fastest.
    """
    unknown = sorted(grid.keys() - _AXES.keys())
    if unknown:
        raise ValueError(
            f"no axis is called {', '.join(unknown)}; there are {', '.join(_AXES)} (run_grid takes any)"
        )
    axes = _named({**grid, **{axis: values for axis, values in _AXES.items() if axis not in grid}})
    for image in axes["image"].values():
        _secret(image)
    trial = partial(_recover, steps=steps, device=device)
    return run_grid(trial, axes, out, chunk=chunk, retries=retries, progress=progress)


def run_grid(
    trial: Trial,
    grid: Mapping[str, Axis],
    out: str | Path,
    *,
    chunk: int = 64,
    retries: int = 1,
    progress: bool = False,
) -> pd.DataFrame:
    """The table of an experiment of your own: a row per cell of the grid, its names and what `trial` measured.

    The cells are all combinations of the axes, the last one fastest; `trial` gets `chunk` of them at a time. A value is
    called by its name in the table: {name: value} gives one, and numbers, text, attacks and functions have one.
    out: the folder of this sweep, made if it is missing. Each finished chunk is a CSV file there, so the same call goes on
    where an interrupted one stopped, and gives the same table. A folder belongs to one grid, trial, chunk and version of
    the library, all compared by name: after changing what a name stands for, choose another folder.
    retries: of a chunk that failed, after all others. If it still fails, a warning says why and the table lacks its rows;
    the same call tries it again. progress: show a tqdm bar, one tick a chunk.
    Raises ValueError for chunk < 1, retries < 0, an axis that is empty or no list, values without a name or of equal names,
    for a folder of another sweep, and if every chunk failed. Raises the OSError of a folder that cannot be written.
    """
    if chunk < 1 or retries < 0:
        raise ValueError(
            f"a sweep needs chunk >= 1 and retries >= 0, got chunk={chunk} and retries={retries}"
        )
    axes = _named(grid)
    named = [dict(zip(axes, names, strict=True)) for names in product(*axes.values())]
    chunks = dict(enumerate(named[k : k + chunk] for k in range(0, len(named), chunk)))
    _claim(
        Path(out),
        {
            "trial": _name(trial),
            "chunk": chunk,
            **{f"axis {axis}": list(axes[axis]) for axis in axes},
        },
    )
    files = {k: Path(out) / f"chunk-{k:06}.csv" for k in chunks}
    tables = {k: table for k in chunks if (table := _read(files[k], chunks[k])) is not None}
    failed: dict[int, str] = {}
    with tqdm(
        total=len(chunks), initial=len(tables), desc="sweep", unit="chunk", disable=not progress
    ) as bar:
        for _ in range(1 + retries):
            todo = {
                k: [_cell(axes, row) for row in rows]
                for k, rows in chunks.items()
                if k not in tables
            }
            for k, answer in _answers(trial, todo):
                if isinstance(answer, str):
                    failed[k] = answer
                else:
                    _write(files[k], chunks[k], answer)
                    tables[k] = _read(files[k], chunks[k])
                    failed.pop(k, None)
                    bar.update()
                bar.set_postfix(failed=len(failed), refresh=False)
    _report(failed, chunks)
    return data.read_table(pd.concat([tables[k] for k in sorted(tables)]).to_csv(index=False))


class _Round(NamedTuple):
    """A client's model and secret, what the server sees of them, and the seed of the attacker."""

    model: nn.Module
    secret: Batch
    shared: Shared
    seed: int


def _recover(cells: Sequence[Cell], *, steps: int, device: str) -> list[Row]:
    """The trial of `sweep`: one honest round a cell, and one `invert` for all cells that it can take together."""
    with _ONE_AT_A_TIME:
        rounds = [_round(cell, device) for cell in cells]
        together: dict[Any, list[int]] = {}
        for k, (cell, (_, secret, *_)) in enumerate(zip(cells, rounds, strict=True)):
            kind = cell["attack"], cell["model"], cell["rate"], secret.x.shape, secret.x.dtype
            together.setdefault(kind, []).append(k)
        measured: dict[int, Row] = {}
        for (attack, *_), runs in together.items():
            measured |= zip(runs, _measure([rounds[k] for k in runs], attack, steps), strict=True)
    return [measured[k] for k in range(len(cells))]


def _round(cell: Cell, device: str) -> _Round:
    secret, generator = _secret(cell["image"]), Generator().manual_seed(int(cell["seed"]))
    try:
        secret = Batch(secret.x.to(device), secret.y.to(device))
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"no device {device!r} here ({error}); use device='cpu', or workers that have one"
        ) from error
    model = cell["model"](x_shape=tuple(secret.x.shape[1:]), dropout=float(cell["rate"])).to(
        secret.x
    )
    model = cell["init"](model, generator)
    shared = federated.share(model, secret, generator)
    return _Round(model, secret, shared, int(torch.randint(2**62, (), generator=generator)))


def _measure(rounds: Sequence[_Round], attack: Attack, steps: int) -> list[Row]:
    result = invert(
        rounds[0].model,
        [r.shared for r in rounds],
        attack,
        seeds=[r.seed for r in rounds],
        steps=steps,
        frames=1,
    )
    if not result.complete:
        raise KeyboardInterrupt("Ctrl-C during a chunk, which is not kept; the same call goes on")
    x, y = torch.stack([r.secret.x for r in rounds]), torch.stack([r.secret.y for r in rounds])
    columns = {
        "evaluations": (~result.loss.isnan()).sum(1),
        "loss": result.best_loss,
        "mse": metrics.mse(result.x, x)[:, 0],
        "label_right": (result.y == y)[:, 0],
    }
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*(t.tolist() for t in columns.values()), strict=True)
    ]


def _secret(image: str | Batch) -> Batch:
    batch = data.photos(image) if isinstance(image, str) else image
    if not isinstance(batch, Batch) or len(batch.x) != 1:
        got = (
            f"a Batch of {len(batch.x)}"
            if isinstance(batch, Batch)
            else f"a {type(batch).__name__}"
        )
        raise ValueError(
            f"an image of a sweep is a name of data.photos or a Batch of one image, got {got}; "
            "give {name: Batch(x[k : k + 1], y[k : k + 1])}"
        )
    return batch


def _named(grid: Mapping[str, Axis]) -> dict[str, dict[Any, Any]]:
    """{axis: {name in the table: value}}."""
    if not grid:
        raise ValueError("a grid has at least one axis, got none; try {'seed': range(10)}")
    axes = {}
    for axis, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise ValueError(f"axis {axis} is a list of values, got {values!r}; write [{values!r}]")
        items = (
            [*values.items()]
            if isinstance(values, Mapping)
            else [(_name(value), value) for value in values]
        )
        axes[axis] = dict(items)
        if not 0 < len(items) == len(axes[axis]):
            raise ValueError(
                f"axis {axis} has {len(items)} values of {len(axes[axis])} names; it needs at least one value, each with a "
                "name of its own: leave doubles out, or give {name: value}"
            )
    return axes


def _name(value: object) -> Any:
    """What tables and folders call a value."""
    if isinstance(value, str | Real | None):
        return value
    if isinstance(value, partial):
        given = [str(_name(v)) for v in value.args] + [
            f"{key}={_name(v)}" for key, v in value.keywords.items()
        ]
        return f"{_name(value.func)}({', '.join(given)})"
    for name in (getattr(value, "name", None), getattr(value, "__name__", None)):
        if isinstance(name, str):
            return name
    raise ValueError(
        f"a {type(value).__name__} has no name for the table; give the axis as {{name: value}}"
    )


def _cell(axes: Mapping[str, Mapping[Any, Any]], row: Row) -> Cell:
    return {axis: axes[axis][name] for axis, name in row.items()}


def _claim(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Make the folder this sweep's, unless it has chunks of another or files of something else."""
    path = folder / "manifest.json"
    content = json.dumps({**manifest, **versions()}, indent=1, default=float)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(
            f"{folder} cannot be made ({error.strerror}); choose another folder for this sweep"
        ) from error
    if any(folder.glob("chunk-*.csv")) and path.exists():
        _compare(folder, _manifest(path), json.loads(content))
    elif strange := [
        file.name for file in folder.iterdir() if file != path and file.suffix != ".part"
    ]:
        raise ValueError(
            f"{folder} holds {min(strange)} and is no folder of a sweep; choose a new one for this sweep"
        )
    write_atomic(path, content.encode())


def _manifest(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); delete the folder, or choose another for this sweep"
        ) from error


def _compare(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    if [*old.items()] == [*new.items()]:
        return
    differ = [key for key in {**old, **new} if old.get(key) != new.get(key)] or [
        "order of the axes"
    ]
    was, now = (shorten(str(m.get(differ[0], [*m])), 120, placeholder=" …") for m in (old, new))
    raise ValueError(
        f"{folder} belongs to another sweep: its {differ[0]} was {was}, now it is {now}; choose another folder "
        "for this one, or delete that one"
    )


def _answers(
    trial: Trial, todo: Mapping[int, Sequence[Cell]]
) -> Iterator[tuple[int, list[Row] | str]]:
    """Each chunk with its rows, or with what went wrong, in the order in which they end.

    A worker that dies may take the others with it. Then what had been started runs again, one chunk at a time, to find the
    culprit, and the rest goes on.
    """
    groups = [dict(todo)]
    while groups:
        group, started = groups.pop(), {}
        tasks = (
            delayed(_answer)(trial, k, started.setdefault(k, cells))
            for k, cells in [*group.items()]
        )
        try:
            for k, answer in _as_they_end(tasks):
                del group[k], started[k]
                yield k, answer
        except Exception as error:
            if not started:
                raise
            if len(group) == 1:
                yield next(iter(group)), _said(error)
            else:
                rest = {k: cells for k, cells in group.items() if k not in started}
                groups += [rest, *({k: cells} for k, cells in started.items())]


def _as_they_end(tasks: Iterator[Any]) -> Iterator[Any]:
    """What the tasks return: at once, or in waves of one for each worker where the backend waits for all (ray does)."""
    try:
        parallel = Parallel(batch_size=1, return_as="generator_unordered")
    except ValueError:
        with Parallel(batch_size=1) as parallel:
            while wave := [*islice(tasks, effective_n_jobs(None))]:
                yield from parallel(wave)
    else:
        yield from parallel(tasks)


def _answer(trial: Trial, k: int, cells: Sequence[Cell]) -> tuple[int, list[Row] | str]:
    """In the worker. An error travels as text, since not every exception can be sent."""
    try:
        return k, _checked(trial(cells), cells)
    except Exception as error:
        return k, _said(error)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _checked(rows: Sequence[Row], cells: Sequence[Cell]) -> list[Row]:
    if len(rows) != len(cells):
        raise ValueError(f"a trial answers one row for each cell, got {len(rows)} for {len(cells)}")
    for row, cell in zip(rows, cells, strict=True):
        if both := sorted(row.keys() & cell.keys()):
            raise ValueError(
                f"the trial measured {both[0]}, but the table has an axis of that name; call it another name"
            )
        for column, value in row.items():
            if not isinstance(value, str | Real | None):
                raise ValueError(
                    f"a table holds numbers and text, got a {type(value).__name__} in {column}; use .item()"
                )
    return list(rows)


def _write(path: Path, names: Sequence[Row], measured: Sequence[Row]) -> None:
    table = pd.DataFrame([{**n, **m} for n, m in zip(names, measured, strict=True)])
    write_atomic(path, table.to_csv(index=False).encode())


def _read(path: Path, names: Sequence[Row]) -> pd.DataFrame | None:
    """A finished chunk as text, cell by cell; None if the file is missing, cut off or of something else."""
    try:
        content = path.read_bytes().decode()
        table = pd.read_csv(StringIO(content), dtype=str, keep_default_na=False)
    except (FileNotFoundError, ValueError):
        return None
    mine = pd.DataFrame(names).to_csv(index=False)
    whole = (
        content.endswith("\n")
        and table.to_csv(index=False, columns=[c for c in names[0] if c in table]) == mine
    )
    return table if whole else None


def _report(failed: Mapping[int, str], chunks: Mapping[int, Sequence[Row]]) -> None:
    if not failed:
        return
    lines = [
        f"chunk {k}, {dict(chunks[k][0])} to {dict(chunks[k][-1])}: {failed[k]}"
        for k in sorted(failed)
    ]
    if len(failed) == len(chunks):
        raise ValueError(f"all {len(chunks)} chunks of this sweep failed: {lines[0]}")
    warnings.warn(
        f"{len(failed)} of {len(chunks)} chunks failed, their rows are missing; the same call tries them again\n"
        + "\n".join(lines),
        stacklevel=3,
    )
