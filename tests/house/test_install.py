"""The library installs whole, from a wheel, and from git by a chapter's first cell, as in Colab.

Slow, half a minute each: they make an environment, and pip fetches setuptools to build the package.
"""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
USE_IT = """
from pathlib import Path
import dlgutils
from dlgutils import data, javascript, sweeps, widgets
from dlgutils.matching import optimizers
from dlgutils.analytic import closed_form
assert len(data.photos().x) == 12 and len(data.fruits().x) == 1393 and len(data.fashion().x) == 200
assert len(data.table("separation"))
assert "render" in widgets.Film._esm and widgets.Film._css
assert "const generated" in javascript.worker_source()
package = Path(dlgutils.__file__).parent
files = [path.relative_to(package.parent) for path in package.rglob("*") if path.is_file()]
print(package, *files, sep="\\n")
"""

NETWORKS = """
from torch import nn

def make_model():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
"""
DRAW = """
import numpy as np
from PIL import Image
drawn = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
Image.fromarray(drawn).save("project/2.png")
"""


def bootstrap(notebook: Path) -> str:
    """The source of a notebook's first code cell."""
    found = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return next("".join(cell["source"]) for cell in found if cell["cell_type"] == "code")


def assert_whole(printed, folder, library_files):
    """The library lies in `folder` and has every committed file."""
    package, *installed = printed.splitlines()
    assert Path(package).is_relative_to(folder)
    assert library_files - set(installed) == set()


def test_bootstrap_is_the_same_in_all_notebooks():
    assert len({bootstrap(notebook) for notebook in NOTEBOOKS}) == 1


@pytest.mark.slow
def test_bootstrap_installs_the_whole_library(elsewhere, library_files, tmp_path):
    spec = "import importlib.util; print(importlib.util.find_spec('dlgutils'))"
    assert elsewhere("-c", spec).strip() == "None"
    elsewhere("-c", bootstrap(NOTEBOOKS[0]))
    assert_whole(elsewhere("-c", USE_IT), tmp_path / "venv", library_files)


@pytest.mark.slow
def test_wheel_holds_the_whole_library_and_audits(elsewhere, repository, library_files, tmp_path):
    wheels = tmp_path / "wheels"
    elsewhere("-m", "pip", "wheel", "-q", "--no-deps", "-w", str(wheels), str(repository))
    (wheel,) = wheels.glob("dlgutils-*.whl")
    repository.rename(tmp_path / "gone")
    elsewhere("-m", "pip", "install", "-q", "--no-deps", str(wheel))
    assert_whole(elsewhere("-c", USE_IT), tmp_path / "venv", library_files)
    assert_audits(elsewhere, tmp_path)


def assert_audits(elsewhere, folder):
    """The command finds a module of its folder, and writes a page that shows the picture."""
    (folder / "project").mkdir()
    (folder / "networks_of_a_test.py").write_text(NETWORKS)
    elsewhere("-c", DRAW)
    words = ["networks_of_a_test:make_model", "--images", "project", "--labels", "names"]
    options = ["--size", "8x8", "--budget", "3", "--fail-on", "never"]
    files = ["--html", "audit.html", "--json", "audit.json"]
    printed = elsewhere("-m", "dlgutils", "audit", *words, *options, *files)
    assert printed.startswith("The image is recognisable; its label is read")
    assert "<h1>The image is recognisable" in (folder / "audit.html").read_text()
    leaks = json.loads((folder / "audit.json").read_text())["leaks"]
    assert {"recognisable", "labels"} <= set(leaks)
