"""The JavaScript of the widgets: bundles that a page can run, and the linter that checks them."""

import re
import shutil
import subprocess
import sys
from collections import Counter

import pytest

from dlgutils import widgets
from dlgutils.widgets.base import front_end
from tools.book.browser import ROOT

WIDGETS = [name for name in widgets.__all__ if name.islower()]
TOP_LEVEL = r"^(?:async )?(?:function|class|const|let) (\w+)"


@pytest.mark.parametrize("name", WIDGETS)
def test_front_end_imports_nothing_and_exports_the_widget(name):
    source = front_end(name)
    assert not re.findall("^import .*", source, re.MULTILINE)
    assert re.findall("^export .*", source, re.MULTILINE) == ["export default {"]


@pytest.mark.parametrize("name", WIDGETS)
def test_front_end_has_different_names_in_its_files(name):
    names = Counter(re.findall(TOP_LEVEL, front_end(name), re.MULTILINE))
    assert names["make"] == 1
    assert not [name for name, count in names.items() if count > 1]


@pytest.fixture
def lint(tmp_path):
    """A function that checks a script by the rules of this project: what the linter prints.

    It is slow the first time: the linter is fetched.
    """
    shutil.copy(ROOT / "biome.json", tmp_path)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "other.js").write_text("export const there = 1;\n")
    command = [sys.executable, ROOT / "tools" / "book" / "lint_javascript.py"]

    def lint(script):
        (tmp_path / "assets" / "script.js").write_text(script)
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        words = run.stdout + run.stderr
        assert run.returncode == ("Found" in words), words
        return words

    return lint


def test_lint_passes_a_script_without_faults(lint):
    words = lint('import { there } from "./other.js";\n\ndocument.title = there;\n')
    assert "Checked 3 files" in words


@pytest.mark.parametrize(
    ("rule", "script"),
    [
        ("noUndeclaredVariables", "document.title = missing;\n"),
        ("noUnusedVariables", "const unused = 1;\n"),
        ("noUnusedImports", 'import { there } from "./other.js";\n'),
        ("noUnresolvedImports", 'import { lost } from "./other.js";\n\nlost();\n'),
        ("noExcessiveLinesPerFunction", "(() => {\n" + "  close();\n" * 36 + "})();\n"),
        ("format", "open(" + "name, " * 20 + "name);\n"),
    ],
)
def test_lint_fails_on(lint, rule, script):
    assert rule in lint(script)
