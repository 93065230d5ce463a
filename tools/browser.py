"""A headless Chromium, as the tests and the screenshots start it; run as a program, make sure that there is one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

from playwright.sync_api import Browser, Error, Playwright, sync_playwright

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


def launch(playwright: Playwright) -> Browser:
    """Start the system's browser, else playwright's own; RuntimeError when none starts."""
    for path in (*filter(None, map(shutil.which, NAMES)), playwright.chromium.executable_path):
        try:
            return playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        except Error:
            continue
    raise RuntimeError("no Chromium or Chrome that starts; make browser installs one where it can")


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
        "browser: the tests of the built pages need Chromium or Chrome, and none could be installed.\n"
        "Install one (Debian: apt-get install chromium) and run this again; all other tests run without it."
    )


if __name__ == "__main__":
    main()
