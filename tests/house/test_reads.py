"""What a notebook reaches of the library: never too little, and not all of it."""

import ast
import json

import pytest

from tools.architecture import modules, tree
from tools.book import reads
from tools.book.reads import ROOT, reached

FILES = {
    "__init__.py": "from dlgutils import shop\nfrom dlgutils.shop import sell\n",
    "ground.py": "LEVEL = 1\n",
    "unused.py": "LEVEL = 2\n",
    "shop/__init__.py": "from dlgutils.shop.bread import sell\n",
    "shop/bread.py": "from dlgutils import ground\n\ndef sell():\n    return ground.LEVEL\n",
    "market/__init__.py": "from dlgutils.shop.bread import sell\n",
    "shop/cake.py": "from pathlib import Path\n\nHERE = Path(__file__).parent / 'static'\n",
    "shop/static/cream.js": "",
    "shop/static.txt": "",
    "data/__init__.py": "from dlgutils.data.tables import table, table_pictures\n",
    "data/tables.py": "def table(name): ...\n\ndef table_pictures(name): ...\n",
    "tables/one.csv": "",
    "tables/one.npz": "",
    "tables/two.csv": "",
}
BREAD = {"shop/bread.py", "ground.py"}
READS = {"data/tables.py"}
ONE = READS | {"tables/one.csv", "tables/one.npz"}
CAKE = {"shop/cake.py", "shop/static/cream.js"}
EVERYTHING = set(FILES)
MODULES = modules()
CODE = {
    "import torch": set(),
    "from dlgutils.ground import LEVEL\nLEVEL\nfrom dlgutils.unused import LEVEL": {
        "ground.py",
        "unused.py",
    },
    "from dlgutils.market import *": BREAD | {"market/__init__.py"},
    "import dlgutils as du": set(),
    "import dlgutils as du\ndu.sell()": BREAD,
    "from dlgutils import sell\nsell()": BREAD,
    "from dlgutils.shop import sell as s\nlist(map(s, []))": BREAD,
    "import dlgutils.shop.bread\ndlgutils.shop.bread.sell()": BREAD,
    "from dlgutils import shop\nshop.sell().real": BREAD,
    "def f():\n    from dlgutils.shop import cake\n    return cake.HERE": CAKE,
    "from dlgutils.shop import cake\nx = f'{cake.HERE}'": CAKE,
    "from dlgutils import shop\ngetattr(shop, 'sell')": BREAD | CAKE | {"shop/__init__.py"},
    "from dlgutils import shop\nshop.unknown": BREAD | CAKE | {"shop/__init__.py"},
    "from dlgutils.shop.bread import *": BREAD,
    "from dlgutils.shop import bread\nbread.ground.LEVEL": BREAD,
    "import dlgutils as du\nshow(du)": {name for name in EVERYTHING if "static.txt" not in name},
    "import subprocess\nsubprocess.run('python -m dlgutils'.split())": EVERYTHING,
    "!python -m dlgutils audit": EVERYTHING,
    "%run -m dlgutils": EVERYTHING,
    "import os\nos.environ['DLGUTILS_SOURCE'] = 'dlgutils'": set(),
    "from dlgutils import data\ndata.table('one')": ONE,
    "from dlgutils import data\ndata.table('one').query('two')": ONE,
    "import dlgutils as du\ndu.data.table_pictures('one')": ONE,
    "from dlgutils.data import table\n[table(n) for n in 'ab']": ONE | {"tables/two.csv"},
    "from dlgutils import data\ngetattr(data, 'table')('one')": ONE
    | {"tables/two.csv", "data/__init__.py"},
    "from dlgutils import data\nread = data.table\ndata.table('one')": ONE | {"tables/two.csv"},
}


@pytest.fixture
def library(tmp_path):
    """A small library in a folder of its own."""
    for name, text in FILES.items():
        path = tmp_path / "dlgutils" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def notebook(folder, code):
    """A notebook of one cell."""
    path = folder / "book.ipynb"
    path.write_text(json.dumps({"cells": [{"cell_type": "code", "source": [code]}]}))
    return path


@pytest.mark.parametrize("code", CODE)
def test_reached_follows_the_names_that_are_used(code, library):
    found = reached(notebook(library, code), library)
    names = {path.relative_to(library / "dlgutils").as_posix() for path in found}
    assert names == CODE[code]


def test_code_of_sees_every_code_cell(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["dlgutils"]},
        {"cell_type": "code", "source": ["x = 1\n", "  %time x"]},
        {"cell_type": "code", "source": ["y = 2"], "metadata": {"tags": ["remove-cell"]}},
    ]
    path = tmp_path / "book.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    assert reads.code_of(path) == "x = 1\n  '%time x'\ny = 2"


def chapters(*paths):
    """The numbers of the chapters that reach one of these files."""
    files = {ROOT / "dlgutils" / path for path in paths}
    books = (ROOT / "notebooks").glob("[01]*.ipynb")
    return {int(book.name[:2]) for book in books if files & reached(book)}


def test_chapters_reach_what_they_tell_of():
    assert chapters("analytic/closed_form/recover.py") == {5, 9, 12}
    assert chapters("federated/dp_sgd/training.py") == {11, 12}
    assert chapters("federated/flower.py") == {10, 12}
    assert chapters("auditing/run.py") == {12}
    assert chapters("tables/trained.csv") == {9, 12}
    assert chapters("tables/pairs.csv", "tables/dropout_run.csv") == {4, 8, 12}
    assert chapters("models/networks.py") == set(range(1, 13))
    assert chapters("images/photos64.npz") == set(range(1, 13))


# What the reading relies on


IMPORTS = ast.Import | ast.ImportFrom
DECORATORS = {
    "cache",
    "contextmanager",
    "dataclass",
    "lru_cache",
    "media",
    "once_for_each_round",
    "remembered",
    "torch.no_grad",
}
"""None of them registers what it decorates for others to find."""
DEFINES = IMPORTS | ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign | ast.AugAssign


@pytest.mark.parametrize("module", MODULES)
def test_a_module_only_defines_names(module):
    """So that a module whose names nobody uses changes nothing, although it is imported."""
    for node in tree(MODULES[module]).body:
        if isinstance(node, ast.If):
            assert ast.unparse(node.test) == "TYPE_CHECKING"
        elif isinstance(node, ast.Try):
            assert all(isinstance(inner, IMPORTS) for inner in node.body)
        elif isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant)
        else:
            assert isinstance(node, DEFINES), ast.unparse(node)
        decorators = {
            ast.unparse(one).partition("(")[0] for one in getattr(node, "decorator_list", ())
        }
        assert decorators <= DECORATORS
        targets = getattr(node, "targets", [getattr(node, "target", ast.Name("x"))])
        assert all(isinstance(target, ast.Name | ast.Tuple) for target in targets)


def test_modules_are_imported_by_their_names():
    """By texts only where a version is looked up, and a network of the user's own."""
    late = {"import_module", "importlib.import_module", "__import__", "exec", "eval"}
    found = set()
    for name, path in MODULES.items():
        calls = (node for node in ast.walk(tree(path)) if isinstance(node, ast.Call))
        if any(ast.unparse(call.func) in late for call in calls):
            found.add(name)
    assert found == {"storage", "auditing.factories"}


def test_folders_of_data_are_named_beside_them():
    """By modules that lie beside a folder called static, or below."""
    for path in MODULES.values():
        if "static" in reads.strings(path):
            assert any((folder / "static").is_dir() for folder in path.parents)
