"""Take pictures of built pages: of those that are named, or of all.

python tools/book/screenshots.py FOLDER [--width 1200] [book/intro notebooks/01_…]
"""

import argparse
from pathlib import Path

from browser import HTML, launch, pages, wait_until_drawn
from playwright.sync_api import sync_playwright


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("pages", nargs="*", help="names without .html; default: all")
    parser.add_argument("--width", type=int, default=1200)
    options = parser.parse_intermixed_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    viewport = {"width": options.width, "height": 900}
    with sync_playwright() as playwright:
        page = launch(playwright).new_page(viewport=viewport)
        for name in options.pages or pages():
            page.goto((HTML / f"{name}.html").as_uri(), wait_until="networkidle")
            wait_until_drawn(page)
            path = options.folder / f"{Path(name).name}.png"
            page.screenshot(path=path, full_page=True)


if __name__ == "__main__":
    main()
