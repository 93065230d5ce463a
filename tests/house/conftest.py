"""An environment elsewhere: what dlgutils needs is there, but neither dlgutils nor this checkout."""

import io
import os
import subprocess
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def git(*words: str, folder: Path) -> bytes:
    """Standard output of a git command in `folder`."""
    command = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=60).stdout


@pytest.fixture
def repository(tmp_path):
    """What is committed here, as a repository of one commit.

    pip's partial clone of a shallow repository does not end.
    """
    folder = tmp_path / "repository"
    with tarfile.open(fileobj=io.BytesIO(git("archive", "HEAD", folder=ROOT))) as archive:
        archive.extractall(folder, filter="data")
    git("init", "-q", folder=folder)
    git("add", ".", folder=folder)
    git("commit", "-q", "-m", "HEAD", folder=folder)
    return folder


@pytest.fixture
def library_files(repository):
    """The names of all committed files of the library."""
    return set(git("ls-files", "dlgutils", folder=repository).decode().split())


@pytest.fixture
def elsewhere(tmp_path, repository):
    """run(*words): standard output of `python *words` in a fresh environment without dlgutils."""
    others = tmp_path / "others"
    others.mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if "dlgutils" not in package.name:
            (others / package.name).symlink_to(package)
    venv.create(tmp_path / "venv", with_pip=True)
    (site_packages,) = (tmp_path / "venv").glob("lib/*/site-packages")
    (site_packages / "others.pth").write_text(str(others))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["DLGUTILS_SOURCE"] = f"git+{repository.as_uri()}"

    def run(*words: str) -> str:
        command = [tmp_path / "venv" / "bin" / "python", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
