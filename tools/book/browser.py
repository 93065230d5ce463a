"""A headless Chromium that looks at the built book; as a program, this file provides one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from playwright.sync_api import Browser, Error, Page, Playwright, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
NAMES = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TYPESET = """() => {
    window.MathJax?.startup.promise.then(() => document.body.classList.add("typeset"));
}"""
DRAWN = """() => {
    const view = 'script[type="application/vnd.jupyter.widget-view+json"]';
    const drawn = document.querySelectorAll(".widget-subarea:not(:empty)").length;
    const isTypeset = !window.MathJax || document.body.classList.contains("typeset");
    return drawn >= document.querySelectorAll(view).length && isTypeset;
}"""


def pages() -> list[str]:
    """Names of all pages in reading order, as _toc.yml lists them."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    names = [toc["root"]]
    for part in toc["parts"]:
        names += [chapter["file"] for chapter in part["chapters"]]
    return names


def launch(playwright: Playwright) -> Browser:
    """The system's browser, started, or else playwright's own; RuntimeError when none starts."""
    installed = filter(None, map(shutil.which, NAMES))
    for path in (*installed, playwright.chromium.executable_path):
        try:
            return playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        except Error:
            continue
    raise RuntimeError("no Chromium or Chrome that starts; make browser installs one where it can")


def wait_until_drawn(page: Page) -> None:
    """Wait until the mathematics and the widgets of a loaded page are there.

    Raises playwright's TimeoutError after a minute.
    """
    page.evaluate(TYPESET)
    page.wait_for_function(DRAWN, timeout=60_000)


def starts() -> bool:
    """Whether there is a browser that starts."""
    with sync_playwright() as playwright:
        try:
            launch(playwright).close()
        except RuntimeError:
            return False
    return True


def installers() -> Iterator[str]:
    """Commands that may provide a browser here, best first."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        yield "apt-get update -q && apt-get install -qy --no-install-recommends chromium"
    yield f"{sys.executable} -m playwright install chromium"


def main() -> None:
    if starts():
        return
    for command in installers():
        print("no browser yet, trying:", command, flush=True)
        subprocess.run(command, shell=True, check=False)
        if starts():
            return
    sys.exit(
        "browser: the printed book and the tests of the built pages need Chromium or Chrome; none\n"
        "could be installed. Install one (Debian: apt-get install chromium) and run this again;\n"
        "everything else works without it."
    )


if __name__ == "__main__":
    main()
