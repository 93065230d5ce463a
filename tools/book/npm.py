"""Packages of the npm registry, pinned by version and sha512, and unpacked without npm or node."""

import base64
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import urllib.request
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

REGISTRY = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")


class Archive(NamedTuple):
    """A package of the registry, and which of its files go where."""

    package: str
    version: str
    sha512: str  # base64, as in npm's lock files
    files: tuple[tuple[str, str], ...]  # pattern inside the archive, folder under the target

    @property
    def url(self) -> str:
        """The address of the archive in the registry."""
        name = self.package.split("/")[-1]
        return f"{REGISTRY}/{self.package}/-/{name}-{self.version}.tgz"


def provide(target: Path, archives: Sequence[Archive]) -> None:
    """Make the folder `target` hold these archives; a complete one is left alone.

    It appears whole, or stays as it was. Raises OSError without a network, and ValueError for a
    download that is not the pinned one.
    """
    contents = "".join(f"{archive.package} {archive.version}\n" for archive in archives)
    marker = target / "versions.txt"
    if marker.is_file() and marker.read_text() == contents:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        fresh = Path(folder) / "vendor"
        for archive in archives:
            print(f"fetching {archive.package} {archive.version}", flush=True)
            unpack(download(archive), archive.files, fresh)
        (fresh / "versions.txt").write_text(contents)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)


def download(archive: Archive) -> bytes:
    """The bytes of the archive.

    Raises ValueError when they are not the pinned ones, OSError without a network.
    """
    with urllib.request.urlopen(archive.url, timeout=120) as answer:
        content = answer.read()
    found = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if found != archive.sha512:
        raise ValueError(
            f"{archive.url} has sha512 {found}, expected {archive.sha512}: "
            "a damaged or altered download"
        )
    return content


def unpack(content: bytes, files: Sequence[tuple[str, str]], target: Path) -> None:
    """Write each member of an archive that matches a pattern into that pattern's folder."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            for pattern, folder in files:
                if fnmatch(member.name, pattern):
                    path = target / folder / Path(member.name).name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(tar.extractfile(member).read())
                    path.chmod(member.mode)
