"""The shape of the house: imports run downward, names are documented and typed, lines short."""

import ast
import json
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import dlgutils
from tools import measures
from tools.architecture import FLOORS, PACKAGE, floors_in_words, imported, modules, rooms_used, tree

ROOT = Path(__file__).resolve().parents[2]
DEFINITION = ast.FunctionDef | ast.ClassDef
MODULES = modules()
PACKAGES = sorted(PACKAGE.rglob("__init__.py"))
ONLY_IN = {
    "matplotlib": {"plots"},
    "anywidget": {"widgets"},
    "traitlets": {"widgets"},
    "IPython": set(),
    "torchvision": {"data"},
    "scipy": {"analytic", "metrics"},
    "torchmetrics": {"metrics"},
    "joblib": {"sweeps"},
    "pandas": {"data", "sweeps"},
    "safetensors": {"storage"},
    "flwr": {"federated"},
    "ray": set(),
    "opacus": {"federated"},
}
GLOBAL_SETTINGS = {
    "print",
    "plt.show",
    "plt.rcParams.update",
    "torch.set_default_dtype",
    "torch.set_default_device",
}
DRAWS = {
    "torch.rand",
    "torch.randn",
    "torch.randint",
    "torch.randperm",
    "torch.bernoulli",
    "torch.multinomial",
}

every_module = pytest.mark.parametrize("module", MODULES)


def room(module):
    """The room that a module lies in: the first part of its dotted name."""
    return module.split(".")[0]


@cache
def calls(module):
    """Every call in this module, as text: "torch.manual_seed", with the node."""
    nodes = (node for node in ast.walk(tree(MODULES[module])) if isinstance(node, ast.Call))
    return [(ast.unparse(node.func), node) for node in nodes]


def public(module):
    """The public functions, classes and methods of a module: {name: node}."""
    found = {}
    for node in tree(MODULES[module]).body:
        if isinstance(node, DEFINITION) and not node.name.startswith("_"):
            found[node.name] = node
            found |= methods(node)
    return found


def methods(node):
    """The public methods of a class, {class.method: node}; of a function none."""
    inner = node.body if isinstance(node, ast.ClassDef) else []
    functions = (n for n in inner if isinstance(n, ast.FunctionDef))
    return {f"{node.name}.{n.name}": n for n in functions if not n.name.startswith("_")}


@pytest.fixture(scope="module")
def imported_afresh():
    """What importing the library does in a fresh interpreter: one, since it takes seconds.

    "heavy", the packages that `import dlgutils` loads of those that stand in one room, and
    "draws", whether `import dlgutils.widgets` changes the state of the global generator.
    """
    script = (
        "import json, sys, torch; before = torch.get_rng_state(); import dlgutils; "
        f"heavy = [name for name in {sorted(ONLY_IN)} if name in sys.modules]; "
        "import dlgutils.widgets; draws = not before.equal(torch.get_rng_state()); "
        "print(json.dumps({'heavy': heavy, 'draws': draws}))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)


# Imports


def test_import_of_the_library_is_light(imported_afresh):
    assert imported_afresh["heavy"] == []


def test_import_draws_nothing_from_the_global_generator(imported_afresh):
    assert imported_afresh["draws"] is False


def test_floors_hold_every_room_once():
    rooms = [name for floor in FLOORS for name in floor]
    assert sorted(rooms) == sorted({room(module) for module in MODULES})


@every_module
def test_imports_run_downward_only(module):
    here = room(module)
    level = next(k for k, floor in enumerate(FLOORS) if here in floor)
    below = {name for floor in FLOORS[:level] for name in floor}
    assert rooms_used(MODULES[module]) <= below | {here}


def test_imports_inside_a_room_have_no_circle():
    graph = {}
    for module, path in MODULES.items():
        names = [f"{name}." for name in imported(path)]
        graph[module] = {m for m in MODULES if any(n.startswith(f"dlgutils.{m}.") for n in names)}
    assert len([*TopologicalSorter(graph).static_order()]) >= len(MODULES)


@pytest.mark.parametrize("path", PACKAGES, ids=lambda p: p.parent.name)
def test_a_package_only_hands_names_on(path):
    body = tree(path).body
    kinds = (ast.Expr, ast.ImportFrom, ast.Import, ast.Assign)
    assert ast.get_docstring(tree(path))
    assert all(isinstance(node, kinds) for node in body)
    assigned = {
        target.id for node in body if isinstance(node, ast.Assign) for target in node.targets
    }
    assert assigned <= {"__all__", "__version__"}


@every_module
def test_imports_of_heavy_packages_stand_in_one_room(module):
    roots = {name.split(".")[0] for name in imported(MODULES[module])}
    wrong = {name for name in roots & ONLY_IN.keys() if room(module) not in ONLY_IN[name]}
    assert wrong == set()


def test_contributing_quotes_the_floors():
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split())
    assert floors_in_words() in text


# Global state


@every_module
def test_a_library_does_not_print_show_or_choose_a_device(module):
    names = [name for name, _ in calls(module)]
    assert [name for name in names if name in GLOBAL_SETTINGS] == []
    assert [name for name in names if name.endswith((".cuda", ".is_available"))] == []


@every_module
def test_the_global_generator_is_seeded_inside_a_fork_only(module):
    """And only that of the CPU, since only it is forked: torch.manual_seed seeds every device."""
    inside = set()
    for node in ast.walk(tree(MODULES[module])):
        if isinstance(node, ast.With) and "fork_rng" in ast.unparse(node.items[0]):
            inside |= {inner.lineno for inner in ast.walk(node) if isinstance(inner, ast.Call)}
    found = calls(module)
    seeded = {n.lineno for name, n in found if name == "torch.default_generator.manual_seed"}
    assert seeded <= inside
    never = ("torch.manual_seed", "torch.seed", "np.random.seed")
    assert [name for name, _ in found if name in never] == []


@every_module
def test_randomness_comes_from_a_generator(module):
    draws = [ast.unparse(node) for name, node in calls(module) if name in DRAWS]
    assert all("generator" in draw for draw in draws)
    assert not any(name.startswith("np.random") for name, _ in calls(module))


# What a reader finds


@every_module
def test_every_public_thing_is_documented(module):
    assert ast.get_docstring(tree(MODULES[module]))
    assert [name for name, node in public(module).items() if not ast.get_docstring(node)] == []


@every_module
def test_every_public_function_is_typed(module):
    for name, node in public(module).items():
        if isinstance(node, ast.FunctionDef):
            arguments = [a for a in ast.walk(node.args) if isinstance(a, ast.arg)]
            assert node.returns, name
            assert all(a.annotation for a in arguments if a.arg != "self"), name


@every_module
def test_every_long_argument_list_is_explained(module):
    """From four arguments on, each has a line of its own below `Args:`, or another function's."""
    for name, node in public(module).items():
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.args, *node.args.kwonlyargs]
            named = [a.arg for a in arguments if a.arg not in ("self", "_")]
            text = ast.get_docstring(node)
            explained = [f"    {argument}: " in text for argument in named]
            elsewhere = "arguments are those of" in text
            assert len(named) < 4 or all(explained) or elsewhere, name


@every_module
def test_no_error_is_mute_and_no_signature_is_open(module):
    raises = [node for node in ast.walk(tree(MODULES[module])) if isinstance(node, ast.Raise)]
    errors = [node.exc for node in raises if node.exc]
    assert all(isinstance(error, ast.Call) and error.args for error in errors)
    functions = {n: f for n, f in public(module).items() if isinstance(f, ast.FunctionDef)}
    assert [name for name, f in functions.items() if f.args.kwarg] == []


@pytest.fixture(scope="module")
def measured():
    """All measures of this checkout: `python tools/measures.py` prints them."""
    return measures.measure(ROOT)


@pytest.mark.parametrize("measure", measures.LIMITS)
def test_the_measures_of_the_house_are_kept(measured, measure):
    found = measured[measure]
    assert found.value <= measures.LIMITS[measure], found.where


def test_what_the_package_offers_exists_and_is_few():
    assert all(hasattr(dlgutils, name) for name in dlgutils.__all__)
    assert len(dlgutils.__all__) <= 14
