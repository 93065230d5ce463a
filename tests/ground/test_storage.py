"""Files: whole or not at all, and with a way out when they cannot be written."""

import os

import pytest
import torch

import dlgutils
from dlgutils.storage import write_atomic, written_by


def test_a_file_is_written_and_replaced(tmp_path):
    for content in (b"one", b"", b"another"):
        write_atomic(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failure_leaves_the_file_that_was_there_and_nothing_else(tmp_path, monkeypatch):
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
def test_a_place_that_is_none_is_an_error_of_its_kind(tmp_path, place, kind):
    (tmp_path / "a file").touch()
    (tmp_path / "a folder").mkdir()
    with pytest.raises(
        kind, match=rf"{place} cannot be written \(.*\); choose a folder that exists and is yours"
    ):
        write_atomic(tmp_path / place, b"content")


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="the superuser may write everywhere"
)
def test_a_folder_of_somebody_else_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="choose a folder that exists and is yours"):
        write_atomic(tmp_path / "file", b"content")


def test_versions():
    assert written_by() == {"dlgutils": dlgutils.__version__, "torch": torch.__version__}
