"""Files that are written whole or not at all, and say who wrote them."""

import os
from importlib import import_module
from pathlib import Path

import torch


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that nobody ever reads half of it: beside it first, then renamed.

    A file that was there is replaced, or kept if writing fails. Raises the OSError of the failure, FileNotFoundError or
    PermissionError for example, with the way out in its message.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            part.write_bytes(content)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise type(error)(
            f"{path} cannot be written ({error.strerror}); choose a folder that exists and is yours"
        ) from error


def written_by() -> dict[str, str]:
    """The versions of what writes a file now: {"dlgutils": "0.1.0", "torch": "2.15.0"}."""
    return {"dlgutils": import_module(__package__).__version__, "torch": torch.__version__}
