"""`sweep`: one image attacked in every combination of the axes."""

from dataclasses import replace

import joblib
import pytest
import torch
from pandas.testing import assert_frame_equal

from dlgutils import attacks
from dlgutils.sweeps import recovery, sweep
from dlgutils.types import Batch
from tests.sweeps.experiments import TINY, images, small


def test_sweep_has_a_row_per_run_in_the_order_of_the_axes(tmp_path):
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


def test_sweep_recovers_images(tmp_path):
    table = small(tmp_path, steps=80)
    assert table.label_right.all()
    assert table.mse.max() < 1e-3
    assert table.loss.max() < 1e-4


def test_sweep_has_defaults_for_every_axis_and_names_for_images(tmp_path):
    table = sweep({"image": ["cat"]}, tmp_path, steps=1)
    assert table.iloc[0, :6].tolist() == ["cat", 0, 0.0, "iDLG", "init_default", "lenet"]


def test_sweep_rows_do_not_depend_on_their_company(tmp_path):
    axes = {
        "attack": [attacks.idlg, attacks.idlg_reference, attacks.idlg_fresh_masks],
        "rate": [0.0, 0.5],
    }
    alone = small(tmp_path / "alone", chunk=1, **axes)
    together = small(tmp_path / "together", chunk=10, **axes)
    assert_frame_equal(alone, together, rtol=1e-6)


def test_sweep_takes_images_of_other_shapes_into_one_chunk(tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 3, 4, 12, generator=generator)
    wide = {"wide": Batch(x, torch.tensor([0]))}
    table = small(tmp_path, image=images(1) | wide)
    assert table.loss.notna().all()


def test_sweep_rows_depend_on_the_seed(tmp_path):
    table = small(tmp_path, image=images(1), attack=[attacks.idlg_reference])
    assert table.loss.nunique() == 2


def test_sweep_in_threads_draws_the_same_weights(tmp_path):
    with joblib.parallel_config(backend="threading", n_jobs=2):
        threads = small(tmp_path / "threads", chunk=1)
    assert_frame_equal(threads, small(tmp_path / "here", chunk=1))


def test_recover_does_not_keep_an_interrupted_attack(tmp_path, monkeypatch):
    """After Ctrl-C `invert` returns what it found so far: not the row of a finished run."""
    invert = recovery.invert

    def interrupted(*args, **kwargs):
        return replace(invert(*args, **kwargs), complete=False)

    monkeypatch.setattr(recovery, "invert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small(tmp_path)
    assert not list(tmp_path.glob("*.csv"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_sweep_on_a_gpu_makes_the_same_table(tmp_path):
    axes = {
        "model": TINY,
        "image": images(),
        "attack": [attacks.idlg_reference],
        "rate": [0.0, 0.5],
    }
    here = sweep(axes, tmp_path / "cpu", steps=5, device="cpu")
    there = sweep(axes, tmp_path / "cuda", steps=5, device="cuda")
    assert_frame_equal(here, there, rtol=1e-4)


def test_sweep_raises_for_a_device_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"no device 'cuda:99' here .*; use device='cpu'"):
        sweep({"image": ["cat"]}, tmp_path, device="cuda:99")


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
def test_sweep_knows_its_axes(tmp_path, grid, message):
    with pytest.raises(ValueError, match=message):
        sweep(grid, tmp_path / "out")
    assert not (tmp_path / "out").exists()
