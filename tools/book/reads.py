"""Which files of the library a notebook can reach: `python -m tools.book.reads` prints them all.

`import dlgutils` runs nearly every module, but modules only define names (a test holds the library
to that), so what counts is whose names are used. They are read off the code: of a package that is
used by its names, the modules of these names; of one that is used as a value, or whose name is not
found, all of it; then the same for every module that is reached. A notebook that names dlgutils in
a string, as for a command line, reaches everything. In doubt, a file counts as reached.
"""

import ast
import json
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = "dlgutils"
TABLES = (f"{LIBRARY}.data.table", f"{LIBRARY}.data.table_pictures")
"""What reads the table that its first argument names."""

INSTALLS = "DLGUTILS_SOURCE"
"""Occurs in the cell that installs the library where it is missing, and in no other."""


class Name(NamedTuple):
    """Something of the library: a module or package, and the names that lead on from there."""

    module: str
    names: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The whole name, with dots."""
        return ".".join((self.module, *self.names))


def code_of(notebook: Path) -> str:
    """The Python of a notebook; commands of a shell become strings."""
    lines = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "code" and INSTALLS not in text:
            lines += text.splitlines()
    for k, line in enumerate(lines):
        start = line.lstrip()
        if start.startswith(("!", "%")):
            lines[k] = line.replace(start, repr(start))
    return "\n".join(lines)


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a module, or of a notebook's code."""
    return ast.parse(code_of(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8"))


@cache
def bound(path: Path) -> dict[str, set[Name]]:
    """What a file calls the library's things: {"models": {Name("dlgutils", ("models",))}}.

    A name that is bound twice, in two functions or two cells, stands for both.
    """
    found = defaultdict(set)
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                found[alias.asname or root].add(Name(alias.name if alias.asname else root))
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names = () if alias.name == "*" else (alias.name,)
                found[alias.asname or alias.name].add(Name(node.module, names))
    ours = {}
    for name, meanings in found.items():
        ours[name] = {full for full in meanings if full.module.split(".")[0] == LIBRARY}
    return ours


def chain(node: ast.AST) -> list[str]:
    """A name with its attributes, ["du", "models", "lenet"]; empty for any other expression."""
    names = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return [node.id, *names] if isinstance(node, ast.Name) else []


def chains(node: ast.AST) -> Iterator[list[str]]:
    """Every name in a piece of code, with its attributes."""
    names = chain(node)
    if names:
        yield names
    else:
        for child in ast.iter_child_nodes(node):
            yield from chains(child)


@cache
def uses(path: Path) -> tuple[Name, ...]:
    """All that a file uses of the library, a name as often as it occurs."""
    found = list(bound(path).get("*", ()))
    for names in chains(tree(path)):
        found.extend(meant(names, path))
    return tuple(found)


def meant(names: list[str], path: Path) -> set[Name]:
    """What a chain of names in a file may be in the library."""
    starts = bound(path).get(names[0], ()) if names else ()
    return {Name(start.module, (*start.names, *names[1:])) for start in starts}


@cache
def strings(path: Path) -> set[str]:
    """The texts that a file has, those in f-strings too."""
    found = (node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant))
    return {value for value in found if isinstance(value, str)}


def source(module: str, root: Path) -> Path | None:
    """The file of a module or the folder of a package, if there is one."""
    place = root.joinpath(*module.split("."))
    return place if place.is_dir() else next(place.parent.glob(f"{place.name}.py"), None)


@cache
def modules(folder: Path) -> frozenset[Path]:
    """All modules of a package."""
    return frozenset(folder.rglob("*.py"))


@cache
def behind(name: Name, root: Path) -> frozenset[Path]:
    """The files in which a name is defined; of a package as a value all that it has."""
    place = source(name.module, root)
    if place is None:
        return modules(root / LIBRARY)
    is_package = place.is_dir()
    own = modules(place) if is_package else frozenset({place})
    hands_on = bound(place / "__init__.py" if is_package else place)
    if not name.names:
        others = set().union(*hands_on.values()) if is_package else ()
        elsewhere = [one for one in others if not f"{one.module}.".startswith(f"{name.module}.")]
        return own.union(*(behind(one, root) for one in elsewhere))
    first, *rest = name.names
    inner = f"{name.module}.{first}"
    handed = hands_on.get(first, set()) - {Name(name.module, (first,))}
    if handed:
        ways = [Name(one.module, (*one.names, *rest)) for one in handed]
        found = frozenset().union(*(behind(way, root) for way in ways))
        return found if is_package else found | own
    if is_package and source(inner, root):
        return behind(Name(inner, tuple(rest)), root)
    return own


def reached(notebook: Path, root: Path = ROOT) -> set[Path]:
    """The files of the library, modules and data, on which a notebook's results can depend."""
    if any(LIBRARY in text for text in strings(notebook)):
        files = (root / LIBRARY).rglob("*")
        return {path for path in files if path.is_file() and path.suffix != ".pyc"}
    found, todo = {notebook}, [notebook]
    while todo:
        for name in set(uses(todo.pop())):
            new = behind(name, root) - found
            found |= new
            todo += new
    return found - {notebook} | data_of(found, root)


def data_of(files: set[Path], root: Path) -> set[Path]:
    """The data that modules and a notebook read.

    A table is read by whoever names it, and every other folder by a module beside it that names the
    folder; a folder in the library itself by any module that does.
    """
    library = root / LIBRARY
    known = {path: strings(path) for path in files}
    tables = named_tables(files)
    found = set()
    for path in library.rglob("*"):
        folder = path.parent
        if path.is_dir() or path.suffix in (".py", ".pyc"):
            continue
        if folder == library / "tables":
            is_read = tables is None or path.stem in tables
        else:
            beside = (file for file in files if file.is_relative_to(folder.parent))
            is_read = any(folder.name in known[file] for file in beside)
        if is_read:
            found.add(path)
    return found


def named_tables(files: set[Path]) -> set[str] | None:
    """The tables that are read by their names; None if one may be read by a name made up later."""
    named = [tables_named_in(path) for path in files]
    return None if None in named else set().union(*named)


@cache
def tables_named_in(path: Path) -> set[str] | None:
    """The same of one file."""
    mentions = [name for name in uses(path) if may_read_tables(name.text)]
    calls = (node for node in ast.walk(tree(path)) if isinstance(node, ast.Call) and node.args)
    called = ((meant(chain(call.func), path), call.args[0]) for call in calls)
    texts = [text for names, text in called for name in names if name.text in TABLES]
    literal = {text.value for text in texts if isinstance(text, ast.Constant)}
    every = sum(isinstance(text, ast.Constant) for text in texts) == len(mentions)
    return literal if every else None


def may_read_tables(name: str) -> bool:
    """Whether a full name leads to tables: a function that reads them, or a package that has it."""
    return name.startswith(TABLES) or any(table.startswith(f"{name}.") for table in TABLES)


def main() -> None:
    """Print what each notebook reaches."""
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        files = sorted(path.relative_to(ROOT / LIBRARY) for path in reached(notebook))
        print(f"{notebook.stem}: {len(files)}", *files, sep="\n  ")


if __name__ == "__main__":
    main()
