"""JavaScript modules as one script: a front end in a page has no address to import from."""

from pathlib import Path

from dlgutils.javascript.es_modules import Module, check_declarations, check_exports, read_module


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
    modules: dict[Path, Module] = {}
    _collect(path.resolve(), modules, ())
    check_declarations(list(modules.values()))
    return "\n".join(module.code for module in modules.values())


def _collect(path: Path, modules: dict[Path, Module], importers: tuple[Path, ...]) -> None:
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
    module = read_module(path)
    for file, names in module.imports:
        target = (path.parent / file).resolve()
        _collect(target, modules, (*importers, path))
        check_exports(modules[target], names, importer=module.name)
    modules[path] = module
