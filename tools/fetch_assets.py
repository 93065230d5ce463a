"""Fill assets/vendor/ with the scripts and fonts that the book serves itself, so that its pages ask no third party.

Three npm archives, pinned by version and sha512, and anywidget's front end from its Python package. Complete: nothing
happens. Interrupted: nothing is left half-done, since the folder appears whole or not at all.
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
from importlib import metadata, resources
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
VENDOR = ROOT / "assets" / "vendor"
REGISTRY = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")


class Archive(NamedTuple):
    """A package of the npm registry, and which of its files go where."""

    package: str
    version: str
    sha512: str  # base64, as in npm's lock files
    files: tuple[tuple[str, str], ...]  # pattern inside the archive, folder under assets/vendor

    @property
    def url(self) -> str:
        return f"{REGISTRY}/{self.package}/-/{self.package.split('/')[-1]}-{self.version}.tgz"


ARCHIVES = (
    Archive(
        "mathjax",
        "3.2.2",
        "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
        (
            ("package/LICENSE", "mathjax"),
            ("package/es5/tex-mml-chtml.js", "mathjax"),
            ("package/es5/output/chtml/fonts/woff-v2/*.woff", "mathjax/output/chtml/fonts/woff-v2"),
        ),
    ),
    Archive(
        "requirejs",
        "2.3.8",
        "7/cTSLOdYkNBNJcDMWf+luFvMriVm7eYxp4BcFCsAX0wF421Vyce5SXP17c+Jd5otXKGNehIonFlyQXSowL6Mw==",
        (("package/require.js", ""),),
    ),
    Archive(
        "@jupyter-widgets/html-manager",  # the version that ipywidgets 8.1 asks for: ^1.0.1
        "1.0.15",
        "5thBIV6ymNgmPVOHvzx+gGy8ZSKmSazhtGw4/c4xJDVzRhG9PTeQsRjF3FUTopvFi//SABeNz1yp47bCrJ3CQA==",
        (
            ("package/dist/embed-amd.js", ""),
            # Its icons, where the two modules inside embed-amd.js look for them.
            ("package/dist/*.woff2", "@jupyter-widgets"),
            ("package/dist/*.woff2", "@jupyter-widgets/html-manager/dist"),
        ),
    ),
)


def versions() -> str:
    """What a complete assets/vendor/ holds, one line per package."""
    lines = [f"{archive.package} {archive.version}" for archive in ARCHIVES]
    return "\n".join([*lines, f"anywidget {metadata.version('anywidget')}", ""])


def is_complete() -> bool:
    marker = VENDOR / "versions.txt"
    return marker.is_file() and marker.read_text() == versions()


def download(archive: Archive) -> bytes:
    """The archive's bytes; raises ValueError when they are not the pinned ones, OSError without a network."""
    with urllib.request.urlopen(archive.url, timeout=120) as answer:
        content = answer.read()
    found = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if found != archive.sha512:
        raise ValueError(f"{archive.url} has sha512 {found}, expected {archive.sha512}: a damaged or altered download")
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
    """Make the whole of assets/vendor/ in `target`."""
    for archive in ARCHIVES:
        print(f"fetching {archive.package} {archive.version}")
        unpack(download(archive), archive.files, target)
    front_end = resources.files("anywidget") / "nbextension" / "index.js"
    (target / "anywidget.js").write_bytes(front_end.read_bytes())
    (target / "versions.txt").write_text(versions())


def main() -> None:
    if is_complete():
        return
    (ROOT / "_build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "_build") as folder:
        fresh = Path(folder) / "vendor"
        fresh.mkdir()
        try:
            fill(fresh)
        except (OSError, ValueError) as error:
            sys.exit(
                f"fetch_assets: {error}\n"
                f"The book serves its own scripts and fetches them once (11 MB) from {REGISTRY}. Connect and run this\n"
                "again, set NPM_CONFIG_REGISTRY to a mirror, or copy assets/vendor/ from a machine that has it."
            )
        shutil.rmtree(VENDOR, ignore_errors=True)
        fresh.rename(VENDOR)


if __name__ == "__main__":
    main()
