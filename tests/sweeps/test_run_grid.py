"""`run_grid`: one table, whatever the chunks and the interruptions were."""

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from dlgutils import attacks, models
from dlgutils.sweeps import run_grid
from tests.sweeps.experiments import GRID, Counted, sums


def test_run_grid_returns_numbers_exactly(tmp_path):
    table = run_grid(sums, GRID, tmp_path)
    seeds = (0, 0, 1, 1, 2, 2)
    rows = sums([{"seed": seed, "rate": 0} for seed in seeds])
    assert table.third.tolist() == [row["third"] for row in rows]


def test_run_grid_keeps_missing_and_not_finite_numbers(tmp_path):
    row = {"a": None, "b": np.inf, "c": np.nan, "d": "NA"}

    def trial(cells):
        return [row for _ in cells]

    table = run_grid(trial, {"seed": [0, 1]}, tmp_path)
    assert table.a.isna().all()
    assert (table.b == np.inf).all()
    assert table.c.isna().all()
    assert table.d.tolist() == ["NA", "NA"]


def test_run_grid_takes_columns_that_differ_from_cell_to_cell(tmp_path):
    def trial(cells):
        return [{f"of {cell['seed']}": 1.5} for cell in cells]

    table = run_grid(trial, {"seed": [0, 1]}, tmp_path, chunk=1)
    assert table["of 0"].isna().tolist() == [False, True]


def test_run_grid_writes_files_that_pandas_reads(tmp_path):
    table = run_grid(sums, GRID, tmp_path, chunk=2)
    parts = [pd.read_csv(path) for path in sorted(tmp_path.glob("*.csv"))]
    assert_frame_equal(pd.concat(parts, ignore_index=True), table)


def test_run_grid_calls_values_by_their_names(tmp_path):
    grid = {
        "attack": [attacks.dlg],
        "init": [partial(models.init_uniform, bound=0.1)],
        "seed": np.arange(2),
        "defence": {"none": object()},
        "note": [None],
    }

    def trial(cells):
        return [{"is_object": type(cell["defence"]) is object} for cell in cells]

    table = run_grid(trial, grid, tmp_path)
    assert table.attack.tolist() == ["DLG"] * 2
    assert table.init.tolist() == ["init_uniform(bound=0.1)"] * 2
    assert table.seed.tolist() == [0, 1]
    assert table.note.isna().all()
    assert table.is_object.all()


@given(finished=st.integers(0, 6), chunk=st.integers(1, 4))
def test_run_grid_goes_on_where_it_was_interrupted(tmp_path_factory, finished, chunk):
    out = tmp_path_factory.mktemp("sweep")
    whole = tmp_path_factory.mktemp("whole")
    chunks = math.ceil(6 / chunk)

    def interrupt(call, _):
        return KeyboardInterrupt() if call == finished + 1 else None

    trial = Counted(interrupt)
    if finished < chunks:
        with pytest.raises(KeyboardInterrupt):
            run_grid(trial, GRID, out, chunk=chunk)
    else:
        run_grid(trial, GRID, out, chunk=chunk)
    rest = Counted()
    table = run_grid(rest, GRID, out, chunk=chunk)
    assert rest.calls == max(chunks - finished, 0)
    expected = run_grid(Counted(), GRID, whole, chunk=chunk)
    assert_frame_equal(table, expected)


def test_run_grid_tries_a_chunk_that_fails_once_again(tmp_path):
    def fail_first(call, _):
        return OSError("the network is down") if call == 1 else None

    trial = Counted(fail_first)
    table = run_grid(trial, GRID, tmp_path / "a", chunk=2)
    expected = run_grid(Counted(), GRID, tmp_path / "b", chunk=2)
    assert_frame_equal(table, expected)
    assert trial.calls == 4


def test_run_grid_reports_a_chunk_that_always_fails_and_goes_on(tmp_path):
    def fail_for_seed_1(_, cells):
        return ZeroDivisionError("seed 1") if cells[0]["seed"] == 1 else None

    trial = Counted(fail_for_seed_1)
    message = r"1 of 3 chunks failed(.|\n)*'seed': 1, 'rate': 0.5(.|\n)*ZeroDivisionError: seed 1"
    with pytest.warns(UserWarning, match=message):
        table = run_grid(trial, GRID, tmp_path, chunk=2, retries=2)
    assert trial.calls == 5
    assert table.seed.tolist() == [0, 0, 2, 2]
    rest = Counted()
    table = run_grid(rest, GRID, tmp_path, chunk=2)
    assert table.seed.tolist() == [0, 0, 1, 1, 2, 2]
    assert rest.calls == 1


def test_run_grid_raises_if_every_chunk_fails(tmp_path):
    trial = Counted(lambda *_: ZeroDivisionError("always"))
    message = r"all 3 chunks of this sweep failed: chunk 0.*ZeroDivisionError: always"
    with pytest.raises(ValueError, match=message):
        run_grid(trial, GRID, tmp_path, chunk=2)


@pytest.mark.parametrize("options", [{"chunk": 0}, {"chunk": -1}, {"retries": -1}], ids=str)
def test_run_grid_checks_chunk_and_retries(tmp_path, options):
    with pytest.raises(ValueError, match="chunk >= 1 and retries >= 0"):
        run_grid(sums, GRID, tmp_path, **options)


def test_run_grid_shows_chunks_as_progress(tmp_path, capsys):
    run_grid(sums, GRID, tmp_path, chunk=2, progress=True)
    assert "3/3" in capsys.readouterr().err
