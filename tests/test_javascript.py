"""What is not translated is refused, and nothing is computed twice. That the translation is right needs a browser, see
tests/browser/test_javascript.py."""

import pytest
import torch

from dlgutils import javascript


def test_an_operation_without_a_translation_is_named():
    with pytest.raises(NotImplementedError, match=r"aten\.sin\.default has no translation.*add one.*There are: .*aten\.mm"):
        javascript.module({"wave": (lambda t: {"y": t["x"].sin()}, {"x": torch.ones(3)})})


def test_the_same_operation_on_the_same_numbers_is_written_once():
    source = javascript.module({"double": (lambda t: {"y": t["x"].exp() + t["x"].exp()}, {"x": torch.ones(3)})})
    assert source.count("Math.exp(t0") == 1


def test_views_are_free():
    """A transpose, a slice and a broadcast make no arrays: only the input and the result are there."""

    def function(t):
        return {"y": t["x"].T[1:, :1] + t["x"][0, :1]}

    source = javascript.module({"views": (function, {"x": torch.ones(3, 4)})})
    assert source.count("new Float32Array(") - javascript.module({}).count("new Float32Array(") == 2
