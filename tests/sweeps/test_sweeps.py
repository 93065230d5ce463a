"""Sweeps: one table, whatever the chunks, the workers and the interruptions were."""

import itertools
import json
import os
import signal
import threading
import time
from dataclasses import replace
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from dlgutils import attacks, models, sweeps
from dlgutils.sweeps import run_grid, sweep
from dlgutils.types import Batch

GRID = {"seed": range(3), "rate": [0.0, 0.5]}
TINY = {"tiny": partial(models.lenet, classes=4)}


def images(count=2):
    """Random 8×8 images by name, in float64."""
    gen = torch.Generator().manual_seed(0)
    x = torch.rand(count, 1, 1, 8, 8, generator=gen, dtype=torch.float64)
    return {f"noise {k}": Batch(x[k], torch.tensor([k])) for k in range(count)}


def small(out, *, steps=5, chunk=64, **axes):
    """A sweep of tiny rounds."""
    return sweep(
        {"model": TINY, "seed": range(2), "image": images(), **axes}, out, steps=steps, chunk=chunk
    )


def sums(cells):
    """A quick experiment with a number that has no short decimal."""
    return [{"sum": cell["seed"] + cell["rate"], "third": (cell["seed"] + 1) / 3} for cell in cells]


class Counted:
    """An experiment that counts its calls, and may raise at some of them."""

    name = "counted"

    def __init__(self, fails=lambda call, cells: None):
        self.calls, self.fails = 0, fails

    def __call__(self, cells):
        self.calls += 1
        if error := self.fails(self.calls, cells):
            raise error
        return sums(cells)


def test_a_row_per_run_in_the_order_of_the_axes(tmp_path):
    table = small(tmp_path, attack=[attacks.dlg, attacks.idlg], rate=[0.0])
    assert list(table) == [
        "model",
        "seed",
        "image",
        "attack",
        "rate",
        "init",
        "evaluations",
        "loss",
        "mse",
        "label_right",
    ]
    assert len(table) == 8
    assert table.attack.tolist() == ["DLG", "iDLG"] * 4
    assert table.image.tolist() == (["noise 0"] * 2 + ["noise 1"] * 2) * 2
    assert set(table.model) == {"tiny"}
    assert set(table.init) == {"init_default"}
    assert set(table.evaluations) == {5}


def test_a_sweep_recovers_images(tmp_path):
    table = small(tmp_path, steps=80)
    assert table.label_right.all()
    assert table.mse.max() < 1e-3
    assert table.loss.max() < 1e-4


def test_every_axis_has_a_default_and_images_have_names(tmp_path):
    table = sweep({"image": ["cat"]}, tmp_path, steps=1)
    assert table.iloc[0, :6].tolist() == ["cat", 0, 0.0, "iDLG", "init_default", "lenet"]


def test_a_row_does_not_depend_on_its_company(tmp_path):
    axes = {
        "attack": [attacks.idlg, attacks.idlg_reference, attacks.idlg_fresh_masks],
        "rate": [0.0, 0.5],
    }
    alone, together = (
        small(tmp_path / "alone", chunk=1, **axes),
        small(tmp_path / "together", chunk=10, **axes),
    )
    assert_frame_equal(alone, together, rtol=1e-6)


def test_rows_of_other_shapes_share_a_chunk(tmp_path):
    gen = torch.Generator().manual_seed(0)
    wide = {"wide": Batch(torch.rand(1, 3, 4, 12, generator=gen), torch.tensor([0]))}
    table = small(tmp_path, image=images(1) | wide)
    assert table.loss.notna().all()


def test_seed_decides_the_row(tmp_path):
    table = small(tmp_path, image=images(1), attack=[attacks.idlg_reference])
    assert table.loss.nunique() == 2


def test_threads_do_not_draw_each_others_weights(tmp_path):
    with joblib.parallel_config(backend="threading", n_jobs=2):
        threads = small(tmp_path / "threads", chunk=1)
    assert_frame_equal(threads, small(tmp_path / "here", chunk=1))


def test_numbers_come_back_exactly(tmp_path):
    table = run_grid(sums, GRID, tmp_path)
    assert table.third.tolist() == [
        row["third"] for row in sums([{"seed": s, "rate": 0} for s in (0, 0, 1, 1, 2, 2)])
    ]


def test_nothing_measured_and_not_finite_numbers_are_kept(tmp_path):
    table = run_grid(
        lambda cells: [{"a": None, "b": np.inf, "c": np.nan, "d": "NA"} for _ in cells],
        {"seed": [0, 1]},
        tmp_path,
    )
    assert table.a.isna().all()
    assert (table.b == np.inf).all()
    assert table.c.isna().all()
    assert table.d.tolist() == ["NA", "NA"]


def test_columns_may_differ_from_cell_to_cell(tmp_path):
    table = run_grid(
        lambda cells: [{f"of {cell['seed']}": 1.5} for cell in cells],
        {"seed": [0, 1]},
        tmp_path,
        chunk=1,
    )
    assert table["of 0"].isna().tolist() == [False, True]


def test_pandas_reads_the_files(tmp_path):
    table = run_grid(sums, GRID, tmp_path, chunk=2)
    assert_frame_equal(
        pd.concat(map(pd.read_csv, sorted(tmp_path.glob("*.csv"))), ignore_index=True), table
    )


def test_values_are_called_by_their_names(tmp_path):
    grid = {
        "attack": [attacks.dlg],
        "init": [partial(models.init_uniform, bound=0.1)],
        "seed": np.arange(2),
        "defence": {"none": object()},
        "note": [None],
    }
    table = run_grid(
        lambda cells: [{"is_object": type(c["defence"]) is object} for c in cells], grid, tmp_path
    )
    assert table.attack.tolist() == ["DLG"] * 2
    assert table.init.tolist() == ["init_uniform(bound=0.1)"] * 2
    assert table.seed.tolist() == [0, 1]
    assert table.note.isna().all()
    assert table.is_object.all()


@given(finished=st.integers(0, 6), chunk=st.integers(1, 4))
def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path_factory, finished, chunk):
    out, whole = tmp_path_factory.mktemp("sweep"), tmp_path_factory.mktemp("whole")
    chunks = -(-6 // chunk)
    trial = Counted(lambda call, _: KeyboardInterrupt() if call == finished + 1 else None)
    if finished < chunks:
        with pytest.raises(KeyboardInterrupt):
            run_grid(trial, GRID, out, chunk=chunk)
    else:
        run_grid(trial, GRID, out, chunk=chunk)
    rest = Counted()
    table = run_grid(rest, GRID, out, chunk=chunk)
    assert rest.calls == max(chunks - finished, 0)
    assert_frame_equal(table, run_grid(Counted(), GRID, whole, chunk=chunk))


@given(cut=st.integers(0, 200), which=st.integers(0, 2))
def test_a_chunk_that_was_cut_off_is_made_again(tmp_path_factory, cut, which):
    out = tmp_path_factory.mktemp("sweep")
    table = run_grid(Counted(), GRID, out, chunk=2)
    files = sorted(out.glob("*.csv"))
    content = files[which].read_bytes()
    files[which].write_bytes(content[:cut])
    again = Counted()
    assert_frame_equal(run_grid(again, GRID, out, chunk=2), table)
    assert again.calls == (cut < len(content))


@pytest.mark.parametrize(
    "content", [b"\0" * 50, b"\xff\xfe\n", b"seed,rate\n0,0.0\n0,0.5\n1,0.0\n", b'seed,"rate\n']
)
def test_a_file_of_something_else_is_made_again(tmp_path, content):
    table = run_grid(sums, GRID, tmp_path, chunk=2)
    (tmp_path / "chunk-000001.csv").write_bytes(content)
    assert_frame_equal(run_grid(sums, GRID, tmp_path, chunk=2), table)


def test_an_interrupted_attack_is_not_kept(tmp_path, monkeypatch):
    """Ctrl-C within `invert` returns what it found so far, which is not the row of a finished run."""
    invert = sweeps.invert
    monkeypatch.setattr(
        sweeps, "invert", lambda *args, **kwargs: replace(invert(*args, **kwargs), complete=False)
    )
    with pytest.raises(KeyboardInterrupt):
        small(tmp_path)
    assert not list(tmp_path.glob("*.csv"))


def test_a_chunk_that_fails_once_is_tried_again(tmp_path):
    trial = Counted(lambda call, _: OSError("the network is down") if call == 1 else None)
    assert_frame_equal(
        run_grid(trial, GRID, tmp_path / "a", chunk=2),
        run_grid(Counted(), GRID, tmp_path / "b", chunk=2),
    )
    assert trial.calls == 4


def test_a_chunk_that_always_fails_is_reported_and_the_rest_goes_on(tmp_path):
    trial = Counted(lambda _, cells: ZeroDivisionError("seed 1") if cells[0]["seed"] == 1 else None)
    with pytest.warns(
        UserWarning,
        match=r"1 of 3 chunks failed(.|\n)*'seed': 1, 'rate': 0.5(.|\n)*ZeroDivisionError: seed 1",
    ):
        table = run_grid(trial, GRID, tmp_path, chunk=2, retries=2)
    assert trial.calls == 5
    assert table.seed.tolist() == [0, 0, 2, 2]
    rest = Counted()
    assert run_grid(rest, GRID, tmp_path, chunk=2).seed.tolist() == [0, 0, 1, 1, 2, 2]
    assert rest.calls == 1


def test_if_every_chunk_fails_there_is_no_table(tmp_path):
    with pytest.raises(
        ValueError, match=r"all 3 chunks of this sweep failed: chunk 0.*ZeroDivisionError: always"
    ):
        run_grid(Counted(lambda *_: ZeroDivisionError("always")), GRID, tmp_path, chunk=2)


def test_a_backend_that_only_answers_at_the_end_works_in_waves(tmp_path):
    """As that of ray, which is built on it."""
    with joblib.parallel_config(backend="multiprocessing", n_jobs=2):
        elsewhere = run_grid(sums, GRID, tmp_path / "there", chunk=1)
    assert_frame_equal(elsewhere, run_grid(sums, GRID, tmp_path / "here", chunk=1))


class Mortal:
    """A pool of three workers that dies when one of them does, as joblib's processes do."""

    def __init__(self, **_):
        pass

    def __call__(self, tasks):
        while batch := list(itertools.islice(tasks, 3)):
            if any(cells[0]["seed"] in (4, 5) for _, (_, _, cells), _ in batch):
                raise RuntimeError("a worker was terminated")
            yield from (function(*args) for function, args, _ in batch)


def test_a_chunk_that_kills_its_worker_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps, "Parallel", Mortal)
    with pytest.warns(
        UserWarning, match=r"2 of 10 chunks failed(.|\n)*RuntimeError: a worker was terminated"
    ):
        table = run_grid(sums, {"seed": range(10), "rate": [0.0]}, tmp_path, chunk=1)
    assert table.seed.tolist() == [0, 1, 2, 3, 6, 7, 8, 9]


def test_a_pool_that_starts_nothing_is_an_error(tmp_path, monkeypatch):
    def no_workers(**_):
        raise TimeoutError("no worker after 10 seconds")

    monkeypatch.setattr(sweeps, "Parallel", no_workers)
    with pytest.raises(TimeoutError, match="no worker"):
        run_grid(sums, GRID, tmp_path)


def test_a_worker_of_a_cluster_is_killed_and_the_table_is_the_same(tmp_path):
    """Two workers of a real cluster; one is killed while it attacks: about fifteen seconds, most of them to start them."""
    from dask.distributed import Client, LocalCluster

    flag = tmp_path / "pid"

    def read(model, shared):
        try:
            with flag.open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            return attacks.idlg.read(model, shared)
        time.sleep(60)
        raise AssertionError("this worker was to be killed")

    def kill():
        while not (flag.exists() and flag.read_text()):
            time.sleep(0.05)
        os.kill(int(flag.read_text()), signal.SIGKILL)

    axes = {"attack": [replace(attacks.idlg, read=read)], "rate": [0.0, 0.5], "chunk": 2}
    killer = threading.Thread(target=kill)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        pids = {worker.pid for worker in cluster.workers.values()}
        killer.start()
        with joblib.parallel_config(backend="dask"):
            table = small(tmp_path / "cluster", **axes)
        killer.join()
    assert int(flag.read_text()) in pids
    assert_frame_equal(table, small(tmp_path / "here", **axes))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_makes_the_same_table(tmp_path):
    axes = {
        "model": TINY,
        "image": images(),
        "attack": [attacks.idlg_reference],
        "rate": [0.0, 0.5],
    }
    here, there = (
        sweep(axes, tmp_path / device, steps=5, device=device) for device in ("cpu", "cuda")
    )
    assert_frame_equal(here, there, rtol=1e-4)


def test_a_device_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"no device 'cuda:99' here .*; use device='cpu'"):
        sweep({"image": ["cat"]}, tmp_path, device="cuda:99")


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({}, "at least one axis"),
        ({"seed": []}, "axis seed has 0 values"),
        ({"seed": 3}, r"axis seed is a list of values, got 3; write \[3\]"),
        ({"image": "cat"}, r"axis image is a list of values, got 'cat'; write \['cat'\]"),
        ({"seed": [0, 1, 0]}, "axis seed has 3 values of 2 names"),
        (
            {"attack": [attacks.dlg, replace(attacks.dlg, prior=abs)]},
            "axis attack has 2 values of 1 names",
        ),
        ({"x": [torch.zeros(1)]}, "a Tensor has no name for the table"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_grid_that_is_none_is_an_error(tmp_path, grid, message):
    with pytest.raises(ValueError, match=message):
        run_grid(sums, grid, tmp_path)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"seeds": [0]}, "no axis is called seeds; there are image, seed, rate"),
        ({"image": ["zebra"]}, "no photograph is called zebra; there are"),
        ({"image": {"two": images(1)["noise 0"].x}}, "a Batch of one image, got a Tensor"),
        ({"image": {"two": Batch(torch.zeros(2, 3, 4, 4), torch.zeros(2))}}, "got a Batch of 2"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_sweep_knows_its_axes(tmp_path, grid, message):
    with pytest.raises(ValueError, match=message):
        sweep(grid, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [{"chunk": 0}, {"chunk": -1}, {"retries": -1}], ids=str)
def test_chunk_and_retries_are_checked(tmp_path, options):
    with pytest.raises(ValueError, match="chunk >= 1 and retries >= 0"):
        run_grid(sums, GRID, tmp_path, **options)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "one row for each cell, got 0 for 6"),
        ([{"seed": 3}] * 6, "the table has an axis of that name"),
        ([{"a": torch.zeros(())}] * 6, r"got a Tensor in a; use \.item\(\)"),
    ],
)
def test_what_a_trial_answers_is_checked(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        run_grid(lambda cells: rows, GRID, tmp_path)


@pytest.mark.parametrize(
    ("grid", "options", "what"),
    [
        ({"seed": range(4), "rate": [0.0, 0.5]}, {}, "axis seed was"),
        ({"rate": [0.0, 0.5], "seed": range(3)}, {}, "order of the axes was"),
        ({"seed": range(3)}, {}, "axis rate was"),
        (GRID, {"chunk": 3}, "chunk was 64, now it is 3"),
    ],
    ids=str,
)
def test_a_folder_belongs_to_one_sweep(tmp_path, grid, options, what):
    run_grid(sums, GRID, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        ValueError, match=f"belongs to another sweep: its {what}.*choose another folder"
    ):
        run_grid(sums, grid, tmp_path, **options)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_belongs_to_one_trial_and_one_version(tmp_path):
    run_grid(sums, GRID, tmp_path)
    with pytest.raises(ValueError, match="its trial was sums, now it is counted"):
        run_grid(Counted(), GRID, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"torch": "1.0"}))
    with pytest.raises(ValueError, match=r"its torch was 1\.0, now it is"):
        run_grid(sums, GRID, tmp_path)


@pytest.mark.parametrize("content", ["", '{"trial": "su', "3"])
def test_a_damaged_manifest_is_an_error(tmp_path, content):
    run_grid(sums, GRID, tmp_path)
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(
        ValueError, match=r"manifest\.json is damaged .*; delete the folder, or choose another"
    ):
        run_grid(sums, GRID, tmp_path)


@pytest.mark.parametrize("name", ["thesis.tex", "chunk-000000.csv"])
def test_a_folder_of_something_else_is_left_alone(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(
        ValueError, match=f"holds {name} and is no folder of a sweep; choose a new one"
    ):
        run_grid(sums, GRID, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_without_a_finished_chunk_belongs_to_nobody(tmp_path):
    (tmp_path / ".manifest.json.123.part").touch()
    with pytest.raises(ValueError, match="all 1 chunks"):
        run_grid(Counted(lambda *_: ZeroDivisionError()), GRID, tmp_path)
    assert len(run_grid(sums, {"seed": range(2), "rate": [0.5]}, tmp_path)) == 2


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file cannot be made .*choose another folder"):
        run_grid(sums, GRID, tmp_path / "file")


def test_a_folder_that_cannot_be_written_is_an_error_before_anything_is_computed(
    tmp_path, monkeypatch
):
    trial = Counted()
    monkeypatch.setattr(os, "replace", lambda *_: os.stat(tmp_path / "missing"))
    with pytest.raises(OSError, match=r"manifest\.json cannot be written .*choose a folder"):
        run_grid(trial, GRID, tmp_path)
    assert trial.calls == 0


def test_progress_shows_chunks(tmp_path, capsys):
    run_grid(sums, GRID, tmp_path, chunk=2, progress=True)
    assert "3/3" in capsys.readouterr().err


def test_stored_tables_are_what_the_scripts_write():
    table = data.table("dropout_run")
    assert list(table.columns[:4]) == ["init", "rate", "attacker", "evaluation"]
    assert set(table["init"]) == {"default", "wide"}
    assert (table["recognisable"] <= table["images"]).all()


def test_the_papers_run_holds_the_counts_of_chapter_5():
    table = (
        data.table("dropout_run")
        .drop_duplicates(["init", "rate", "attacker"])
        .set_index(["attacker", "init", "rate"])
    )
    found = table["recognisable"]
    assert set(table["images"]) == {20}
    assert (found["mask reading"] == 20).all()
    assert (found["eval mode"].xs(0.0, level="rate") == 20).all()
    assert found["DIA"].xs(0.5, level="rate").to_dict() == {"default": 6, "wide": 0}
    naive = [name for name in table.index.levels[0] if name not in ("mask reading", "DIA")]
    assert len(naive) == 4
    assert (found[naive].drop(0.0, level="rate") == 0).all()


def test_the_separation_holds_the_map_of_chapter_5():
    table = data.table("separation")
    assert (table["certified"] == table["right"]).all()
    with_dropout = table[table["p"] > 0]
    full = with_dropout["right"] == with_dropout["rounds"]
    assert full[(with_dropout["batch"] <= 32) | (with_dropout["features"] == 4096)].all()
    assert with_dropout[~full][["p", "batch"]].to_numpy().tolist() == [[0.1, 64], [0.5, 64]]
    assert (table[table["p"] == 0]["certified"] == 0).all()


def test_batches_hold_the_counts_of_chapter_5():
    table = data.table("batches").set_index(["batch", "attacker"])["below_1e-2"]
    assert (table[8, "no dropout"], table[8, "labels and masks"]) == (14, 32)


def test_a_table_that_is_not_stored():
    with pytest.raises(
        ValueError, match=r"no stored table is called 'papers'; there are .*dropout_run"
    ):
        data.table("papers")
