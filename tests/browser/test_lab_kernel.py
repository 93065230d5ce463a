"""The lab as a reader with a kernel meets it: in JupyterLab, with both engines behind the button.

Slow (about a minute): it starts a Jupyter server and a kernel.
"""

import os
import socket
import subprocess
import sys
import time

import nbformat
import pytest
from playwright.sync_api import expect

from tests.browser.lab_page import choose

CELL = "from dlgutils import widgets\nwidgets.lab()"


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory):
    """The address of a notebook of one cell in a running JupyterLab."""
    folder = tmp_path_factory.mktemp("lab")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = nbformat.v4.new_notebook(metadata=kernel, cells=[nbformat.v4.new_code_cell(CELL)])
    nbformat.write(notebook, folder / "lab.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"--no-browser --allow-root --ip=127.0.0.1 --port={port}"
    command = [sys.executable, "-m", "jupyterlab", *options.split()]
    command.append("--IdentityProvider.token=reader")
    quiet = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
    with subprocess.Popen(command, cwd=folder, env=os.environ, **quiet) as server:
        wait_for(port)
        yield f"http://127.0.0.1:{port}/lab/tree/lab.ipynb?token=reader"
        server.terminate()


def wait_for(port: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not answers(port):
        assert time.monotonic() < deadline, "JupyterLab did not start"
        time.sleep(0.2)


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def lab(jupyter, browser):
    """The lab in the page, after its cell has run."""
    page = browser.new_page(viewport={"width": 1300, "height": 950})
    page.goto(jupyter)
    page.locator(".jp-CodeCell .cm-content").first.click(timeout=60_000)
    page.get_by_text("| Idle").wait_for(timeout=60_000)
    page.keyboard.press("Shift+Enter")
    page.locator(".dlg-lab").wait_for(timeout=180_000)  # while the worker's source is traced
    yield page.locator(".dlg-lab")
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["page", "kernel"])
def test_lab_recovers_the_photograph_with_either_engine(lab, engine):
    choose(lab, "engine", engine)
    choose(lab, "picture", "flower")
    lab.get_by_role("button", name="Run", exact=True).click()
    caption = lab.locator("[aria-live]")
    expect(caption).to_contain_text("Done after 100 evaluations", timeout=60_000)
    rmse = caption.inner_text().rpartition("RMSE ")[2]
    assert float(rmse.split(",")[0]) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["page", "kernel"])
def test_lab_knows_the_defense_with_either_engine(lab, engine):
    choose(lab, "engine", engine)
    choose(lab, "picture", "cat")
    choose(lab, "defence of the gradient", "largest 10 % kept")
    lab.get_by_label("knows the defence").check()
    lab.get_by_role("button", name="Run", exact=True).click()
    caption = lab.locator("[aria-live]")
    expect(caption).to_contain_text("Done after 100 evaluations", timeout=60_000)
    rmse = caption.inner_text().rpartition("RMSE ")[2]
    choose(lab, "defence of the gradient", "none")
    assert float(rmse.split(",")[0]) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["page", "kernel"])
def test_lab_matches_the_features_of_a_trained_network_with_either_engine(lab, engine):
    choose(lab, "engine", engine)
    lab.get_by_role("button", name="Trained, by features", exact=True).click()
    caption = lab.locator("[aria-live]")
    expect(caption).to_contain_text("Done after 300 evaluations", timeout=60_000)
    rmse = caption.inner_text().rpartition("RMSE ")[2]
    lab.get_by_role("button", name="No defence", exact=True).click()
    assert float(rmse.split(",")[0]) < 0.15


@pytest.mark.slow
def test_lab_takes_nothing_from_a_stopped_run_into_the_next(lab):
    """The kernel ends the stopped run a little later and reports it; the new one goes on."""
    choose(lab, "engine", "kernel")
    lab.get_by_label("evaluations", exact=True).fill("5000")
    run = lab.get_by_role("button", name="Run", exact=True)
    stop = lab.get_by_role("button", name="Stop")
    run.click()
    caption = lab.locator("[aria-live]")
    expect(caption).to_contain_text("evaluations a second", timeout=30_000)
    stop.click()
    expect(caption).to_contain_text("Stopped after")
    lab.get_by_label("evaluations", exact=True).fill("100")
    run.click()
    expect(caption).to_contain_text("Done after 100 evaluations", timeout=60_000)
