"""The README's example runs as it stands, and does what the README says it does."""

import re
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_example_prints_what_the_readme_says(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(code.splitlines()) <= 12
    exec(code, {})
    label, scores = capsys.readouterr().out.splitlines()
    recovered, grey = map(float, re.findall(r"\d\.\d+(?:e-\d+)?", scores))
    assert label == "label: cat"
    assert recovered < 0.01
    assert round(grey, 2) == 0.17
