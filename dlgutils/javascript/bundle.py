"""JavaScript modules as one script: a front end in a page has no address to import from."""

import re
from functools import cache
from pathlib import Path

_IMPORT = re.compile(r'^import \{[^}]*\} from "(\./[^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?!default)", re.MULTILINE)


@cache
def bundle(path: Path) -> str:
    """The source of a module and of all that it imports, each file once, before its first use.

    path: of the entry. Imports are of the form `import { a, b } from "./file.js";`, without renaming,
    so top-level names must differ between files; they are stripped, as are exports other than the
    default one. Raises FileNotFoundError for an import that leads nowhere.
    """
    files: dict[Path, str] = {}
    _collect(path.resolve(), files)
    return "\n".join(files.values())


def _collect(path: Path, files: dict[Path, str], importing: tuple[Path, ...] = ()) -> None:
    """Add the file to `files`, after what it imports."""
    if path in importing:
        raise ValueError(
            f"{path.name} imports itself, through {importing[-1].name}; break the circle"
        )
    if path in files:
        return
    source = path.read_text(encoding="utf-8")
    for name in _IMPORT.findall(source):
        _collect((path.parent / name).resolve(), files, (*importing, path))
    files[path] = _EXPORT.sub("", _IMPORT.sub("", source))
