"""The README's workflow for GitHub Actions does, step by step, what the README says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from dlgutils import data

ROOT = Path(__file__).resolve().parents[2]
INSTALL = "pip install git+https://github.com/"
NETWORKS = """
from torch import nn, manual_seed

def make_model():
    manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 12))
"""


@pytest.fixture(scope="module")
def steps():
    """The shell commands of the workflow, without the installation."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    (job,) = yaml.safe_load(source)["jobs"].values()
    install, *commands = [step["run"] for step in job["steps"] if "run" in step]
    assert install.startswith(INSTALL)
    return commands


@pytest.fixture
def checkout(tmp_path):
    """What a checkout of somebody's repository has."""
    pictures = tmp_path / "pictures"
    package = tmp_path / "my_project"
    pictures.mkdir()
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "networks.py").write_text(NETWORKS)
    pixels = (data.photos("cat").x[0].permute(1, 2, 0) * 255).round().byte().numpy()
    Image.fromarray(pixels).save(pictures / "3_cat.png")
    return tmp_path


def executed(steps, checkout, change=("", "")):
    """The status of the steps, one after the other, as GitHub runs them."""
    folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    environment["PYTHONPATH"] = str(ROOT)
    for step in steps:
        words = ["bash", "-e", "-o", "pipefail", "-c", step.replace(*change)]
        done = subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True)
        if done.returncode:
            break
    return done


@pytest.mark.slow
def test_workflow_writes_the_page_and_passes_behind_noise(steps, checkout):
    """Slow, half a minute: its audit has a budget of 20 seconds."""
    done = executed(steps, checkout)
    assert done.returncode == 0, done.stderr
    assert "The image is not recognisable" in done.stdout
    assert (checkout / "audit.html").read_text().startswith("<!doctype html>")


@pytest.mark.slow
def test_workflow_fails_where_a_picture_comes_back(steps, checkout):
    """Slow, ten seconds: a process with an audit that reads the picture off the first layer."""
    done = executed(steps, checkout, ("--clip 1 --noise 0.1 --budget 20", "--budget 3"))
    assert done.returncode == 1, done.stderr
    assert "The image is recognisable" in done.stdout
