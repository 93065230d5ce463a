"""The tests that `make unit` leaves out are few, exist, and are found in reports of pytest."""

import ast
from pathlib import Path

import pytest

from tools import slow_tests
from tools.architecture import tree

ROOT = Path(__file__).resolve().parents[2]


def test_longest_cases_go_until_the_others_fit_into_the_budget():
    times = [("a", 1.0), ("b", 0.4), ("b", 0.4), ("c", 0.5), ("d", 0.1)]
    assert slow_tests.longest(times, 1.5) == {"a": 1.0}
    assert slow_tests.longest(times, 0.6) == {"a": 1.0, "c": 0.5, "b": 0.8}
    assert slow_tests.longest(times, 9) == {}


def test_the_list_is_made_of_a_report(tmp_path):
    report = tmp_path / "tests.xml"
    times = (("test_b[1.5-x]", 70.06), ("test_b[2]", 30), ("test_c", 0.2))
    case = '<testcase classname="tests.house.test_a" name="{}" time="{}" />'
    inner = "".join(case.format(*row) for row in times)
    report.write_text(f"<testsuites><testsuite>{inner}</testsuite></testsuites>")
    path = tmp_path / "slow.csv"
    slow_tests.write(slow_tests.longest(slow_tests.cases(report), slow_tests.BUDGET), path)
    assert path.read_text() == "test,seconds\ntests/house/test_a.py::test_b,100.1\n"
    assert slow_tests.listed(path) == {"tests/house/test_a.py::test_b": 100.1}


@pytest.mark.parametrize("name", slow_tests.listed())
def test_a_listed_test_exists(name):
    file, _, function = name.partition("::")
    nodes = ast.walk(tree(ROOT / file))
    assert function in {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def test_listed_tests_are_marked_as_slow(request):
    """Seen among the tests of this session, whichever they are."""
    listed = slow_tests.listed()
    seen = [item for item in request.session.items if item.nodeid.partition("[")[0] in listed]
    assert all(item.get_closest_marker("slow") for item in seen)
