"""Files: whole or not at all, and with a way out when they cannot be written or read."""

import json
import os
import struct
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import dlgutils
from dlgutils import Result, attacks, invert, storage
from dlgutils.storage import write_atomic
from tests.helpers.results import result

NAN, INF = torch.nan, torch.inf


def assert_same(one, other):
    """Every field the same, to the last bit and NaN included."""
    for field in fields(Result):
        a = getattr(one, field.name)
        b = getattr(other, field.name)
        if isinstance(a, Tensor):
            assert a.dtype == b.dtype
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
        else:
            assert a == b


def rewritten(path, **changes):
    """The same file with another header: entries changed, or taken out where the change is None."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    entries = header["__metadata__"] | changes
    header["__metadata__"] = {k: v for k, v in entries.items() if v is not None}
    text = json.dumps(header).encode()
    size = struct.pack("<Q", len(text))
    path.write_bytes(size + text + content[8 + length :])
    return path


def test_write_atomic_writes_and_replaces(tmp_path):
    for content in (b"one", b"", b"another"):
        write_atomic(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_write_atomic_leaves_the_old_file_and_nothing_else_when_it_fails(tmp_path, monkeypatch):
    write_atomic(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "replace", lambda *_: os.stat(tmp_path / "missing"))
    with pytest.raises(OSError, match="cannot be written"):
        write_atomic(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("missing/file", FileNotFoundError),
        ("a file/file", NotADirectoryError),
        ("a folder", IsADirectoryError),
    ],
)
def test_write_atomic_keeps_the_kind_of_an_error(tmp_path, place, kind):
    (tmp_path / "a file").touch()
    (tmp_path / "a folder").mkdir()
    with pytest.raises(
        kind, match=rf"{place} cannot be written \(.*\); choose a folder that exists and is yours"
    ):
        write_atomic(tmp_path / place, b"content")


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="the superuser may write everywhere"
)
def test_write_atomic_refuses_a_folder_of_somebody_else(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="choose a folder that exists and is yours"):
        write_atomic(tmp_path / "file", b"content")


def test_versions_are_those_of_dlgutils_and_torch():
    assert storage.versions() == {"dlgutils": dlgutils.__version__, "torch": torch.__version__}


def test_load_returns_what_was_saved(tmp_path):
    saved = result([[3.0, NAN], [1.0, INF]])
    storage.save(saved, tmp_path / "result.safetensors")
    assert_same(storage.load(tmp_path / "result.safetensors"), saved)
    assert [path.name for path in tmp_path.iterdir()] == ["result.safetensors"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_load_returns_what_an_attack_found(tmp_path, tiny, seeded, dtype):
    model, _, shared, _ = tiny(batch=2, dtype=dtype)
    saved = invert(model, [shared] * 3, attacks.dlg, seeded(0), steps=3)
    storage.save(saved, tmp_path / "result")
    loaded = storage.load(tmp_path / "result")
    assert_same(loaded, saved)
    assert_same(loaded.best(), saved.best())


def test_save_takes_views_of_one_memory(tmp_path):
    x = torch.rand(4, 2, 1, 3, 5).permute(1, 0, 2, 4, 3)
    saved = Result(
        x=x,
        y=torch.zeros(2, 4, dtype=torch.int64),
        loss=torch.rand(3, 2).T,
        frames=x[None],
        frame_steps=torch.tensor([0]),
        attack="∇ · é",
    )
    storage.save(saved, tmp_path / "result")
    assert_same(storage.load(tmp_path / "result"), saved)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_load_returns_a_result_of_a_gpu_on_the_cpu(tmp_path):
    saved = result([[3.0, NAN], [1.0, INF]])
    on_gpu = replace(saved, x=saved.x.cuda(), frames=saved.frames.cuda())
    storage.save(on_gpu, tmp_path / "result")
    assert_same(storage.load(tmp_path / "result"), saved)


def test_save_replaces_the_file(tmp_path):
    path = tmp_path / "result"
    storage.save(result([[1.0]]), path)
    first = storage.load(path)
    storage.save(result([[2.0]]), str(path))
    assert storage.load(str(path)).loss.item() == 2
    assert first.loss.item() == 1


def test_save_notes_the_versions(tmp_path):
    from safetensors import safe_open

    storage.save(result([[1.0]]), tmp_path / "result")
    with safe_open(tmp_path / "result", "pt") as file:
        assert file.metadata()["torch"] == torch.__version__


def test_load_needs_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*result to load; save one"):
        storage.load(tmp_path / "result")


@given(share=st.floats(0, 1, exclude_max=True))
def test_load_refuses_half_a_file(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("result") / "result"
    storage.save(result([[3.0, 2.0], [1.0, 9.0]]), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="result is damaged, or not a saved result"):
        storage.load(path)


@pytest.mark.parametrize(
    "content", [b"", b"not tensors at all", b"\0" * 100], ids=["empty", "text", "zeros"]
)
def test_load_refuses_a_file_of_something_else(tmp_path, content):
    (tmp_path / "result").write_bytes(content)
    with pytest.raises(ValueError, match="result is damaged, or not a saved result"):
        storage.load(tmp_path / "result")


def test_load_refuses_tensors_of_something_else(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "result")
    with pytest.raises(ValueError, match=r"is not a saved result: .*'loss'.* missing or unknown"):
        storage.load(tmp_path / "result")


@pytest.mark.parametrize(
    "changes", [{"attack": None}, {"complete": None}, {"format": None}, {"mine": "1"}], ids=str
)
def test_load_refuses_a_file_with_other_entries(tmp_path, changes):
    storage.save(result([[1.0]]), tmp_path / "result")
    path = rewritten(tmp_path / "result", **changes)
    (name,) = changes
    with pytest.raises(ValueError, match=f"is not a saved result: .*'{name}'"):
        storage.load(path)


def test_load_names_the_version_that_reads_another_format(tmp_path):
    storage.save(result([[1.0]]), tmp_path / "result")
    path = rewritten(tmp_path / "result", format="2", dlgutils="9.0")
    with pytest.raises(
        ValueError,
        match=r"a result of format 2, this dlgutils reads format 1; install dlgutils 9\.0",
    ):
        storage.load(path)


STATE = {"fc.weight": torch.arange(6.0).view(2, 3), "fc.bias": torch.zeros(2)}


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "checkpoint.pt"])
def test_read_weights_reads_what_people_save(tmp_path, name):
    from safetensors.torch import save_file

    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(STATE, path)
    else:
        checkpoint = {"epoch": 3, "state_dict": STATE}
        torch.save(checkpoint if name == "checkpoint.pt" else STATE, path)
    read = storage.read_weights(path)
    assert read.keys() == STATE.keys()
    assert all(read[key].equal(tensor) for key, tensor in STATE.items())


class Evil:
    """Its pickle writes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_read_weights_runs_nothing_of_a_pickle(tmp_path):
    torch.save({"fc.weight": Evil(tmp_path / "executed")}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="not loaded: a pickle can run code"):
        storage.read_weights(tmp_path / "weights.pt")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
@pytest.mark.parametrize("content", [b"", b"not tensors at all"], ids=["empty", "text"])
def test_read_weights_refuses_a_file_of_something_else(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="is damaged, or"):
        storage.read_weights(tmp_path / name)


@pytest.mark.parametrize("found", [{"epoch": 3}, [STATE["fc.bias"]], {"a": STATE, "b": STATE}])
def test_read_weights_refuses_what_is_no_state_dict(tmp_path, found):
    torch.save(found, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="holds no state dict"):
        storage.read_weights(tmp_path / "weights.pt")


def test_read_weights_names_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nothing\.pt with weights"):
        storage.read_weights(tmp_path / "nothing.pt")
