"""JavaScript modules as one script: a front end in a page has no address to import from."""

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


class _Import(NamedTuple):
    """One import: names of another file."""

    file: str
    names: list[str]


class _Module(NamedTuple):
    """A module whose imports and exports have been removed from the code."""

    name: str  # of the file
    code: str
    imports: list[_Import]
    declared: set[str]  # at the top level
    exported: set[str]  # of these


def bundle(path: Path) -> str:
    """The source of a module and of all that it imports, each file once, before its first use.

    Imports have the form `import { a, b } from "./file.js";`, without renaming; they are removed,
    and so is the word `export`, except before `default`. What is exported is a declaration, such as
    `export function a` or `export const b`.

    path: of the module that no other one imports.

    Raises FileNotFoundError for a file that does not exist, and ValueError for an import of another
    form, one of a name that its file does not export, files that import each other in a circle, and
    a name that two files declare.
    """
    modules: dict[Path, _Module] = {}
    _collect(path.resolve(), modules, ())
    _check_declarations(list(modules.values()))
    return "\n".join(module.code for module in modules.values())


def _collect(path: Path, modules: dict[Path, _Module], importers: tuple[Path, ...]) -> None:
    """Add a module to `modules`, after what it imports.

    importers: the modules that led here, each of which imports the next one.
    """
    if path in modules:
        return
    if path in importers:
        start = importers.index(path)
        circle = [module.name for module in (*importers[start:], path)]
        raise ValueError(
            f"files import each other in a circle: {' → '.join(circle)}; "
            "move what they share to another file"
        )
    if not path.is_file():
        reason = f", which {importers[-1].name} imports" if importers else ""
        raise FileNotFoundError(f"there is no file {path}{reason}; correct the path or add it")
    module = _read_module(path)
    for file, names in module.imports:
        target = (path.parent / file).resolve()
        _collect(target, modules, (*importers, path))
        _check_exports(modules[target], names, importer=module.name)
    modules[path] = module


def _read_module(path: Path) -> _Module:
    """The module in a file; ValueError for an import of a form that `bundle` does not follow."""
    source = path.read_text(encoding="utf-8")
    imports = []
    for names, file in _IMPORT.findall(source):
        words = [name.strip() for name in names.split(",")]
        imports.append(_Import(file, list(filter(None, words))))
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
    return _Module(path.name, _EXPORT.sub("", code), imports, declared, exported)


def _check_exports(module: _Module, names: Sequence[str], importer: str) -> None:
    """Raises ValueError for a name that the module does not export."""
    for name in names:
        if name not in module.exported:
            exported = ", ".join(sorted(module.exported)) or "nothing"
            raise ValueError(
                f"{importer} imports {name} from {module.name}, which exports {exported}; "
                "correct the name or export it"
            )


def _check_declarations(modules: Sequence[_Module]) -> None:
    """Raises ValueError for a name that two modules declare: in one script it would be one name."""
    owners: dict[str, str] = {}
    for module in modules:
        for name in sorted(module.declared):
            if name in owners:
                raise ValueError(
                    f"{owners[name]} and {module.name} both declare {name}, which would be one "
                    "name in the bundle; rename one of them"
                )
            owners[name] = module.name
