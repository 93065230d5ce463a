"""One JavaScript module: its code, and which names it imports, exports and declares."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_IMPORT = re.compile(r'^import \{([^}]*)\} from "(\./[^"]+)";\n', re.MULTILINE)
_OTHER_IMPORT = re.compile(r"^import\b(?! *\().*", re.MULTILINE)
_EXPORT = re.compile(r"^export (?!default\b)", re.MULTILINE)
_DECLARATION = re.compile(
    r"^(export )?(?:async )?(?:function|class|const|let|var)\*? +([\w$]+)", re.MULTILINE
)


class Import(NamedTuple):
    """One import: names of another file."""

    file: str
    names: list[str]


class Module(NamedTuple):
    """A module whose imports and exports have been removed from the code."""

    name: str  # of the file
    code: str
    imports: list[Import]
    declared: set[str]  # at the top level
    exported: set[str]  # of these


def read_module(path: Path) -> Module:
    """The module in a file; ValueError for an import of another form than `bundle` knows."""
    source = path.read_text(encoding="utf-8")
    imports = []
    for names, file in _IMPORT.findall(source):
        words = [name.strip() for name in names.split(",")]
        imports.append(Import(file, list(filter(None, words))))
    code = _IMPORT.sub("", source)
    other = _OTHER_IMPORT.search(code)
    if other:
        raise ValueError(
            f"{path.name} has the line {other.group()!r}, which is not followed; "
            'write import { a, b } from "./file.js";'
        )
    declarations = _DECLARATION.findall(code)
    declared = {name for _, name in declarations}
    exported = {name for export, name in declarations if export}
    return Module(path.name, _EXPORT.sub("", code), imports, declared, exported)


def check_exports(module: Module, names: Sequence[str], importer: str) -> None:
    """Raise ValueError for a name that the module does not export."""
    for name in names:
        if name not in module.exported:
            exported = ", ".join(sorted(module.exported)) or "nothing"
            raise ValueError(
                f"{importer} imports {name} from {module.name}, which exports {exported}; "
                "correct the name or export it"
            )


def check_declarations(modules: Sequence[Module]) -> None:
    """Raise ValueError for a name that two modules declare: in one script they would be one."""
    owners: dict[str, str] = {}
    for module in modules:
        for name in sorted(module.declared):
            if name in owners:
                raise ValueError(
                    f"{owners[name]} and {module.name} both declare {name}, which would be one "
                    "name in the bundle; rename one of them"
                )
            owners[name] = module.name
