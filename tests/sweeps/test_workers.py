"""Workers: the table does not depend on where its chunks were computed, nor on who died."""

import itertools
import os
import signal
import threading
import time
from dataclasses import replace

import joblib
import pytest
from pandas.testing import assert_frame_equal

from dlgutils import attacks
from dlgutils.sweeps import run_grid, workers
from tests.helpers.sessions import run_apart
from tests.sweeps.experiments import GRID, small, sums


def test_as_completed_works_in_waves_where_a_backend_answers_at_the_end(tmp_path):
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


def test_run_chunks_finds_the_chunk_that_kills_its_worker(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "Parallel", Mortal)
    with pytest.warns(
        UserWarning, match=r"2 of 10 chunks failed(.|\n)*RuntimeError: a worker was terminated"
    ):
        table = run_grid(sums, {"seed": range(10), "rate": [0.0]}, tmp_path, chunk=1)
    assert table.seed.tolist() == [0, 1, 2, 3, 6, 7, 8, 9]


def test_run_chunks_raises_if_a_pool_starts_nothing(tmp_path, monkeypatch):
    def no_workers(**_):
        raise TimeoutError("no worker after 10 seconds")

    monkeypatch.setattr(workers, "Parallel", no_workers)
    with pytest.raises(TimeoutError, match="no worker"):
        run_grid(sums, GRID, tmp_path)


@pytest.mark.slow
def test_run_chunks_survives_the_death_of_a_clusters_worker(tmp_path):
    """Two workers of a real cluster; one is killed while it attacks.

    Slow: about fifteen seconds, most of them to start the workers.
    """
    from dask.distributed import Client, LocalCluster

    flag = tmp_path / "pid"

    def infer(model, shared):
        try:
            with flag.open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            return attacks.idlg.infer(model, shared)
        time.sleep(60)
        raise AssertionError("this worker was to be killed")

    def kill():
        while not (flag.exists() and flag.read_text()):
            time.sleep(0.05)
        os.kill(int(flag.read_text()), signal.SIGKILL)

    axes = {"attack": [replace(attacks.idlg, infer=infer)], "rate": [0.0, 0.5], "chunk": 2}
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


ON_RAY = """
import sys
import joblib, ray
from ray.util.joblib import register_ray
from tests.sweeps.experiments import small

ray.init(num_cpus=2, include_dashboard=False)
register_ray()
with joblib.parallel_config(backend="ray", n_jobs=2):
    small(sys.argv[1], chunk=1)
"""


@pytest.mark.slow
def test_sweep_on_ray_makes_the_same_table(tmp_path, monkeypatch):
    """Slow, about half a minute: ray and its workers have to start."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    run_apart("-c", ON_RAY, str(tmp_path))
    there = small(tmp_path, chunk=1)  # the chunks are finished: nothing is computed here
    assert_frame_equal(there, small(tmp_path / "here", chunk=1))
