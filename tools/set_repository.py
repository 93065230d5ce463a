"""Set the address of the book: python -m tools.set_repository https://github.com/me/dlgutils

`repository: url:` in _config.yml is the source; badges, Colab links and bootstrap cells repeat it,
and so do the chapters' links to other pages. Without an address: says whether one is set.
"""

import argparse
import re
from pathlib import Path

import yaml

from tools.book.addresses import PLACEHOLDER, home, to_addresses, to_files

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    "*.yml",
    "*.md",
    "*.toml",
    "*.cff",
    "book/*.md",
    "dlgutils/**/*.py",
    "notebooks/*.ipynb",
)
HINT = "make repository URL=https://github.com/your-name/dlgutils"
GITHUB = re.compile(r"https://github\.com/([\w-]+)/([\w.-]+?)(?:\.git)?/?")


def parts(url: str) -> tuple[str, str]:
    """Owner and name of a GitHub repository.

    Raises ValueError for any other address, since Colab opens no other.
    """
    match = GITHUB.fullmatch(url)
    if match is None:
        raise ValueError(f"{url!r} is not a GitHub repository; write https://github.com/owner/name")
    return match.groups()


def current(root: Path) -> str:
    """The URL that _config.yml names."""
    return yaml.safe_load((root / "_config.yml").read_text())["repository"]["url"]


def rewrite(text: str, old: tuple[str, str], new: tuple[str, str]) -> str:
    """`text` with owner/name and owner.github.io/name replaced, as whole words only."""
    for pattern in ("{}/{}", "{}.github.io/{}"):
        found = re.escape(pattern.format(*old))
        text = re.sub(rf"(?<![\w.-]){found}(?![\w-])", pattern.format(*new), text)
    return text


def rewrite_notebook(text: str, old: tuple[str, str], new: tuple[str, str]) -> str:
    """The same, and links between pages: whole addresses once there is a published book."""
    text = rewrite(to_files(text, home(*old)), old, new)
    return text if new[0] == PLACEHOLDER else to_addresses(text, home(*new))


def set_repository(url: str, root: Path = ROOT) -> list[Path]:
    """Point everything under `root` at `url`; returns the files that changed."""
    old, new = parts(current(root)), parts(url)
    changed = []
    for path in sorted(path for pattern in FILES for path in root.glob(pattern)):
        before = path.read_text(encoding="utf-8")
        change = rewrite_notebook if path.suffix == ".ipynb" else rewrite
        after = change(before, old, new)
        if after != before:
            path.write_text(after, encoding="utf-8")
            changed.append(path)
    return changed


def state(root: Path = ROOT) -> str:
    """In one line: the address that the pages name, or how to set one."""
    url = current(root)
    if parts(url)[0] == PLACEHOLDER:
        return f"no repository is set, so the pages link to none; to set yours: {HINT}"
    return f"the pages link to {url}"


def main() -> None:
    """Set the address that the command line names; without one, say which is set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", nargs="?", help="https://github.com/owner/name")
    url = parser.parse_args().url
    if not url:
        print(state())
        return
    try:
        for file in set_repository(url):
            print(file.relative_to(ROOT))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
