"""Fetch what others wrote for the browser: what the book serves itself, and what its tests bring along.

npm archives, pinned by version and sha512. assets/vendor/ lands beside the pages, so that they ask no third party;
tests/browser/vendor/ does not. A complete folder is left alone, and each appears whole or not at all.
"""

import base64
import hashlib
import io
import os
import shutil
import sys
import tarfile
import tempfile
import urllib.request
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "assets" / "vendor"
TESTS = ROOT / "tests" / "browser" / "vendor"
REGISTRY = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")


class Archive(NamedTuple):
    """A package of the npm registry, and which of its files go where."""

    package: str
    version: str
    sha512: str  # base64, as in npm's lock files
    files: tuple[tuple[str, str], ...]  # pattern inside the archive, folder under the target

    @property
    def url(self) -> str:
        return f"{REGISTRY}/{self.package}/-/{self.package.split('/')[-1]}-{self.version}.tgz"


MATHJAX = Archive(
    "mathjax",
    "3.2.2",
    "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
    (
        ("package/LICENSE", "mathjax"),
        ("package/es5/tex-mml-chtml.js", "mathjax"),
        ("package/es5/output/chtml/fonts/woff-v2/*.woff", "mathjax/output/chtml/fonts/woff-v2"),
    ),
)
AXE = Archive(
    "axe-core",
    "4.14.1",
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
    (("package/LICENSE", ""), ("package/axe.min.js", "")),
)
TARGETS = {BOOK: (MATHJAX,), TESTS: (AXE,)}


def versions(archives: tuple[Archive, ...]) -> str:
    """What a complete folder of these archives holds, one line per package."""
    return "".join(f"{archive.package} {archive.version}\n" for archive in archives)


def is_complete(target: Path) -> bool:
    marker = target / "versions.txt"
    return marker.is_file() and marker.read_text() == versions(TARGETS[target])


def download(archive: Archive) -> bytes:
    """The archive's bytes; raises ValueError when they are not the pinned ones, OSError without a network."""
    with urllib.request.urlopen(archive.url, timeout=120) as answer:
        content = answer.read()
    found = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if found != archive.sha512:
        raise ValueError(
            f"{archive.url} has sha512 {found}, expected {archive.sha512}: a damaged or altered download"
        )
    return content


def unpack(content: bytes, files: tuple[tuple[str, str], ...], target: Path) -> None:
    """Write each member that matches a pattern of `files` into that pattern's folder under `target`."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            for folder in (folder for pattern, folder in files if fnmatch(member.name, pattern)):
                path = target / folder / Path(member.name).name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(tar.extractfile(member).read())


def fill(target: Path) -> None:
    """Replace the folder `target` by a complete one, or leave it as it was."""
    with tempfile.TemporaryDirectory(dir=ROOT / "_build") as folder:
        fresh = Path(folder) / "vendor"
        for archive in TARGETS[target]:
            print(f"fetching {archive.package} {archive.version}")
            unpack(download(archive), archive.files, fresh)
        (fresh / "versions.txt").write_text(versions(TARGETS[target]))
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)


def main() -> None:
    (ROOT / "_build").mkdir(exist_ok=True)
    try:
        for target in TARGETS:
            if not is_complete(target):
                fill(target)
    except (OSError, ValueError) as error:
        sys.exit(
            f"fetch_assets: {error}\n"
            f"The book serves its own scripts and fetches them once (7 MB) from {REGISTRY}. Connect and run this\n"
            "again, set NPM_CONFIG_REGISTRY to a mirror, or copy assets/vendor/ and tests/browser/vendor/ from a machine\n"
            "that has them."
        )


if __name__ == "__main__":
    main()
