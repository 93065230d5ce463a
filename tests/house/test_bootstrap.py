"""What Colab does with a chapter: its first cell installs dlgutils from git where there is none, and that one is whole.

Slow, half a minute: it makes an environment of its own, and pip fetches setuptools to build the package.
"""

import io
import json
import os
import subprocess
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FROM_ELSEWHERE = """
from pathlib import Path
import dlgutils
from dlgutils import data, sweeps, widgets
assert len(data.photos().x) == 12 and len(data.fruits().x) == 1393 and len(data.fashion().x) == 200
assert len(data.table("separation"))
assert "render" in widgets.Film._esm and widgets.Film._css
package = Path(dlgutils.__file__).parent
print(package, *(path.relative_to(package.parent) for path in package.rglob("*") if path.is_file()), sep="\\n")
"""


def bootstrap(notebook: Path) -> str:
    """The source of a notebook's first code cell."""
    found = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return next("".join(cell["source"]) for cell in found if cell["cell_type"] == "code")


def git(*words: str, folder: Path) -> bytes:
    """Standard output of a git command in `folder`."""
    return subprocess.run(
        ["git", *words], cwd=folder, capture_output=True, check=True, timeout=60
    ).stdout


@pytest.fixture
def repository(tmp_path):
    """What is committed here, as a repository of one commit: pip's partial clone of a shallow one does not end."""
    folder = tmp_path / "repository"
    with tarfile.open(fileobj=io.BytesIO(git("archive", "HEAD", folder=ROOT))) as archive:
        archive.extractall(folder, filter="data")
    git("init", "-q", folder=folder)
    git("add", ".", folder=folder)
    git(
        "-c",
        "user.name=test",
        "-c",
        "user.email=test@localhost",
        "commit",
        "-q",
        "-m",
        "HEAD",
        folder=folder,
    )
    return folder


@pytest.fixture
def elsewhere(tmp_path, repository):
    """run(code): standard output of `code` in a fresh environment that has what dlgutils needs, but not dlgutils."""
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

    def run(code: str) -> str:
        command = [tmp_path / "venv" / "bin" / "python", "-c", code]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_all_notebooks_begin_alike():
    assert len({bootstrap(notebook) for notebook in NOTEBOOKS}) == 1


def test_the_first_cell_installs_the_whole_library(elsewhere, repository, tmp_path):
    assert (
        elsewhere("import importlib.util; print(importlib.util.find_spec('dlgutils'))").strip()
        == "None"
    )
    elsewhere(bootstrap(NOTEBOOKS[0]))
    package, *installed = elsewhere(FROM_ELSEWHERE).splitlines()
    assert Path(package).is_relative_to(tmp_path / "venv")
    assert (
        set(git("ls-files", "dlgutils", folder=repository).decode().split()) - set(installed)
        == set()
    )
