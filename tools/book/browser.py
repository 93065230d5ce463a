"""A headless Chromium that looks at the built book; run as a program, make sure that there is one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from playwright.sync_api import Browser, Error, Page, Playwright, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
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
TYPESET = (
    "() => { window.MathJax?.startup.promise.then(() => document.body.classList.add('typeset')); }"
)
DRAWN = """() => {
    const views = document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]').length;
    const drawn = document.querySelectorAll(".widget-subarea:not(:empty)").length;
    return drawn >= views && (!window.MathJax || document.body.classList.contains("typeset"));
}"""


def pages() -> list[str]:
    """Names of all pages in reading order, as _toc.yml lists them."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    return [
        toc["root"],
        *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"]),
    ]


def launch(playwright: Playwright) -> Browser:
    """Start the system's browser, else playwright's own; RuntimeError when none starts."""
    for path in (*filter(None, map(shutil.which, NAMES)), playwright.chromium.executable_path):
        try:
            return playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        except Error:
            continue
    raise RuntimeError("no Chromium or Chrome that starts; make browser installs one where it can")


def wait_until_drawn(page: Page) -> None:
    """Until the mathematics and the widgets of a loaded page stand; playwright's TimeoutError after a minute."""
    page.evaluate(TYPESET)
    page.wait_for_function(DRAWN, timeout=60_000)


def starts() -> bool:
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
        "browser: the printed book and the tests of the built pages need Chromium or Chrome; none could be installed.\n"
        "Install one (Debian: apt-get install chromium) and run this again; everything else works without it."
    )


if __name__ == "__main__":
    main()
