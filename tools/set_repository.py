"""Set the address of the book: python tools/set_repository.py https://github.com/me/dlgutils

`repository: url:` in _config.yml is the source; badges, Colab links and bootstrap cells repeat it.
"""

import argparse
import re
from pathlib import Path

import yaml

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


def set_repository(url: str, root: Path = ROOT) -> list[Path]:
    """Point everything under `root` at `url`; returns the files that changed."""
    old, new = parts(current(root)), parts(url)
    changed = []
    for path in sorted(path for pattern in FILES for path in root.glob(pattern)):
        before = path.read_text(encoding="utf-8")
        after = rewrite(before, old, new)
        if after != before:
            path.write_text(after, encoding="utf-8")
            changed.append(path)
    return changed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="https://github.com/owner/name")
    try:
        for file in set_repository(parser.parse_args().url):
            print(file.relative_to(ROOT))
    except ValueError as error:
        parser.error(str(error))
