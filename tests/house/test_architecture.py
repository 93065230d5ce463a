"""The shape of the house: imports run downward, `import dlgutils` is light, every public thing is documented and typed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dlgutils

DEFINITION = ast.FunctionDef | ast.ClassDef
PACKAGE = Path(dlgutils.__file__).parent
LAYERS = [
    {"files", "tracing"},
    {"types"},
    {"data", "models", "matching", "metrics", "optimizers", "coordinates", "javascript"},
    {"client"},
    {"labels"},
    {"masks"},
    {"attacks", "closed_form"},
    {"inversion"},
    {"plots", "sweeps", "live"},
    {"widgets"},
]
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")
ONLY_IN = {
    "matplotlib": {"plots"},
    "anywidget": {"widgets"},
    "traitlets": {"widgets"},
    "IPython": set(),
    "torchvision": {"data"},
    "scipy": {"metrics"},
    "torchmetrics": {"metrics"},
    "joblib": {"sweeps"},
    "pandas": {"sweeps"},
    "safetensors": {"types"},
}


def tree(module):
    return ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))


def imported(module):
    """Every module that this one imports, wherever in the file, by its full name."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(module):
    """Every call in this module, as text: "torch.manual_seed", with the node."""
    return [
        (ast.unparse(node.func), node)
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call)
    ]


def public(module):
    """The public functions, classes and methods of a module: {name: node}."""
    found = {}
    for node in tree(module).body:
        if isinstance(node, DEFINITION) and not node.name.startswith("_"):
            found[node.name] = node
            inner = (
                n
                for n in node.body
                if isinstance(node, ast.ClassDef) and isinstance(n, ast.FunctionDef)
            )
            found |= {f"{node.name}.{n.name}": n for n in inner if not n.name.startswith("_")}
    return found


def test_importing_the_library_is_light():
    heavy = sorted(ONLY_IN)
    script = f"import sys, dlgutils; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert found.stdout.strip() == "[]"


def test_an_import_draws_nothing_from_the_global_generator():
    script = "import torch; a = torch.get_rng_state(); import dlgutils.widgets; print(a.equal(torch.get_rng_state()))"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert found.stdout.strip() == "True"


def test_every_module_has_a_layer():
    assert sorted(set().union(*LAYERS)) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downward_only(module):
    layer = next(k for k, names in enumerate(LAYERS) if module in names)
    ours = {name.split(".")[1] for name in imported(module) if name.startswith("dlgutils")}
    assert ours <= set().union(*LAYERS[:layer])


@pytest.mark.parametrize("module", MODULES)
def test_what_is_heavy_is_imported_in_one_place(module):
    roots = {name.split(".")[0] for name in imported(module)}
    assert not [
        name for name, allowed in ONLY_IN.items() if name in roots and module not in allowed
    ]


@pytest.mark.parametrize("module", MODULES)
def test_a_library_does_not_speak_show_or_choose_a_device(module):
    never = {
        "print",
        "plt.show",
        "plt.rcParams.update",
        "torch.set_default_dtype",
        "torch.set_default_device",
    }
    assert not [
        name
        for name, _ in calls(module)
        if name in never or name.endswith((".cuda", ".is_available"))
    ]


@pytest.mark.parametrize("module", MODULES)
def test_the_global_generator_is_seeded_inside_a_fork_only(module):
    """And only that of the CPU, since only that is forked: torch.manual_seed would seed every device."""
    forks = [
        n
        for n in ast.walk(tree(module))
        if isinstance(n, ast.With) and "fork_rng" in ast.unparse(n.items[0])
    ]
    inside = {
        node.lineno for fork in forks for node in ast.walk(fork) if isinstance(node, ast.Call)
    }
    assert {
        node.lineno for name, node in calls(module) if name == "torch.default_generator.manual_seed"
    } <= inside
    assert not [
        name
        for name, _ in calls(module)
        if name in ("torch.manual_seed", "torch.seed", "np.random.seed")
    ]


@pytest.mark.parametrize("module", MODULES)
def test_randomness_comes_from_a_generator(module):
    draws = (
        "torch.rand",
        "torch.randn",
        "torch.randint",
        "torch.randperm",
        "torch.bernoulli",
        "torch.multinomial",
    )
    assert all("generator" in ast.unparse(node) for name, node in calls(module) if name in draws)
    assert not any(name.startswith("np.random") for name, _ in calls(module))


@pytest.mark.parametrize("module", MODULES)
def test_every_public_thing_is_documented(module):
    assert ast.get_docstring(tree(module))
    assert not [name for name, node in public(module).items() if not ast.get_docstring(node)]


@pytest.mark.parametrize("module", MODULES)
def test_every_public_function_is_typed(module):
    for name, node in public(module).items():
        if isinstance(node, ast.FunctionDef):
            arguments = [
                a for a in ast.walk(node.args) if isinstance(a, ast.arg) and a.arg != "self"
            ]
            assert node.returns, name
            assert all(a.annotation for a in arguments), name


@pytest.mark.parametrize("module", MODULES)
def test_no_error_is_mute_and_no_signature_is_open(module):
    raised = [
        node.exc for node in ast.walk(tree(module)) if isinstance(node, ast.Raise) and node.exc
    ]
    assert all(isinstance(error, ast.Call) and error.args for error in raised)
    assert not [
        name
        for name, f in public(module).items()
        if isinstance(f, ast.FunctionDef) and f.args.kwarg
    ]


def test_what_the_package_offers_exists_and_is_few():
    assert all(hasattr(dlgutils, name) for name in dlgutils.__all__)
    assert len(dlgutils.__all__) <= 12
