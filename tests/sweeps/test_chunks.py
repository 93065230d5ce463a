"""The folder of a sweep: whose it is, and which of its chunks are finished."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from dlgutils.sweeps import run_grid
from tests.sweeps.experiments import GRID, Counted, sums


@given(cut=st.integers(0, 200), which=st.integers(0, 2))
def test_read_chunk_refuses_a_file_that_was_cut_off(tmp_path_factory, cut, which):
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
def test_read_chunk_refuses_a_file_of_something_else(tmp_path, content):
    table = run_grid(sums, GRID, tmp_path, chunk=2)
    (tmp_path / "chunk-000001.csv").write_bytes(content)
    assert_frame_equal(run_grid(sums, GRID, tmp_path, chunk=2), table)


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
def test_open_folder_refuses_the_folder_of_another_sweep(tmp_path, grid, options, what):
    run_grid(sums, GRID, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        ValueError, match=f"belongs to another sweep: its {what}.*choose another folder"
    ):
        run_grid(sums, grid, tmp_path, **options)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_open_folder_refuses_another_trial_and_another_version(tmp_path):
    run_grid(sums, GRID, tmp_path)
    with pytest.raises(ValueError, match="its trial was sums, now it is counted"):
        run_grid(Counted(), GRID, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"torch": "1.0"}))
    with pytest.raises(ValueError, match=r"its torch was 1\.0, now it is"):
        run_grid(sums, GRID, tmp_path)


@pytest.mark.parametrize("content", ["", '{"trial": "su', "3"])
def test_open_folder_refuses_a_damaged_manifest(tmp_path, content):
    run_grid(sums, GRID, tmp_path)
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(
        ValueError, match=r"manifest\.json is damaged .*; delete the folder, or choose another"
    ):
        run_grid(sums, GRID, tmp_path)


@pytest.mark.parametrize("name", ["thesis.tex", "chunk-000000.csv"])
def test_open_folder_leaves_a_folder_of_something_else_alone(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(
        ValueError, match=f"holds {name} and is not the folder of a sweep; choose a new one"
    ):
        run_grid(sums, GRID, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_open_folder_takes_a_folder_without_a_finished_chunk(tmp_path):
    (tmp_path / ".manifest.json.123.part").touch()
    with pytest.raises(ValueError, match="all 1 chunks"):
        run_grid(Counted(lambda *_: ZeroDivisionError()), GRID, tmp_path)
    assert len(run_grid(sums, {"seed": range(2), "rate": [0.5]}, tmp_path)) == 2


def test_open_folder_raises_for_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file cannot be made .*choose another folder"):
        run_grid(sums, GRID, tmp_path / "file")


def test_open_folder_raises_before_anything_is_computed(tmp_path, monkeypatch):
    """For a folder that cannot be written."""
    trial = Counted()
    monkeypatch.setattr(os, "replace", lambda *_: os.stat(tmp_path / "missing"))
    with pytest.raises(OSError, match=r"manifest\.json cannot be written .*choose a folder"):
        run_grid(trial, GRID, tmp_path)
    assert trial.calls == 0
