"""The example of CONTRIBUTING.md runs as it stands: an attack of one's own, and its contract."""

import re
from pathlib import Path

import pytest

from dlgutils import Attack, testing

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_contributing_adds_an_attack_in_ten_lines():
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line and "import" not in line]) <= 10
    names = {}
    exec(code, names)
    assert isinstance(names["mine"], Attack)
    broken = names["replace"](names["mine"], decode=lambda model, guess: guess._replace(masks={}))
    with pytest.raises(AssertionError, match="by angle from pink noise breaks the contract"):
        testing.check_attack(broken)
