"""What is kept between two builds of the book, and from which content it was made.

A file of digests says from what each kept thing was made; what has no digest, or another one, is
made again. A digest is noted when the thing is complete, never before.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIGESTS = ROOT / "_build" / "digests.json"
VERSIONS = "requirements.txt"


def digest(files: Iterable[Path], root: Path = ROOT) -> str:
    """Of the names and contents of files below `root`, and of the versions that everything uses."""
    found = hashlib.sha256(sys.version.encode())
    for path in sorted({*files, root / VERSIONS}):
        name = os.path.relpath(path, root)
        content = path.read_bytes() if path.exists() else b""
        found.update(f"{name} {len(content)} ".encode() + content)
    return found.hexdigest()


def noted(store: Path | None = None) -> dict[str, str]:
    """All digests of a file; none where it is missing or cannot be read."""
    try:
        return json.loads((store or DIGESTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def note(changes: dict[str, str | None], store: Path | None = None) -> None:
    """Write digests beside those that are there; None takes one away. The file is whole or old."""
    store = store or DIGESTS
    kept = {name: value for name, value in (noted(store) | changes).items() if value}
    store.parent.mkdir(parents=True, exist_ok=True)
    part = store.with_suffix(".part")
    part.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    part.replace(store)
