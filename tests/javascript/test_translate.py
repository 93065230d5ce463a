"""What is not translated is refused, and nothing is computed twice.

That the translation is right needs a browser: see tests/browser/test_generated_code.py.
"""

import re

import pytest
import torch
import wasmtime

from dlgutils import javascript
from dlgutils.javascript.translate import STATIC


def test_compile_names_an_operation_without_a_translation():
    with pytest.raises(
        NotImplementedError,
        match=r"aten\.sin\.default has no translation.*add one.*There are: .*aten\.mm",
    ):
        javascript.compile({"wave": (lambda t: {"y": t["x"].sin()}, {"x": torch.ones(3)})})


def test_compile_refuses_a_keyword_that_matters():
    def function(t):
        return {"y": torch.add(t["x"], t["x"], alpha=2)}

    with pytest.raises(
        NotImplementedError, match=r"aten\.add\.Tensor has no translation .* with alpha; write"
    ):
        javascript.compile({"f": (function, {"x": torch.ones(3)})})


def test_compile_refuses_a_softmax_over_another_dimension():
    with pytest.raises(
        NotImplementedError, match=r"softmax is translated over the last dimension only, got 0 of 2"
    ):
        javascript.compile({"f": (lambda t: {"y": t["x"].softmax(0)}, {"x": torch.ones(3, 4)})})


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda a: a.topk(2).values, "topk is translated for the largest of one dimension, got 2"),
        (lambda a: a.flatten().topk(2, largest=False).values, "topk is translated .* False"),
        (lambda a: a.flatten().topk(2).indices.float(), "of aten.topk.default only the values"),
        (lambda a: a.amax(0), "amax is translated over all dimensions only"),
    ],
)
def test_compile_refuses_what_it_has_not_of_the_largest(function, message):
    with pytest.raises(NotImplementedError, match=message):
        javascript.compile({"f": (lambda t: {"y": function(t["a"])}, {"a": torch.ones(3, 4)})})


def test_compile_writes_an_operation_on_the_same_numbers_once():
    source = javascript.compile(
        {"double": (lambda t: {"y": t["x"].exp() + t["x"].exp()}, {"x": torch.ones(3)})}
    )
    assert arrays(source) == 3


def test_compile_writes_a_loop_once_for_all_functions():
    def function(t):
        return {"y": t["x"].exp().exp()}

    source = javascript.compile({name: (function, {"x": torch.ones(3)}) for name in ("f", "g")})
    assert (source.count("Math.exp(a[i0"), arrays(source)) == (1, 6)


def test_compile_makes_no_arrays_for_views():
    """Of a transpose, a slice and a broadcast: there are only the input and the result."""

    def function(t):
        return {"y": t["x"].T[1:, :1] + t["x"][0, :1]}

    assert arrays(javascript.compile({"views": (function, {"x": torch.ones(3, 4)})})) == 2


def transposed_left(t):
    return {"y": t["a"].T @ t["b"]}


def transposed_both(t):
    return {"y": (t["a"].T @ t["b"].T).sum()}


def transposed_right(t):
    return {"y": t["a"] @ t["b"].T}


@pytest.mark.parametrize(
    ("function", "a", "b", "made"),
    [
        (transposed_left, (4, 3), (4, 5), 1),  # the product
        (transposed_both, (4, 3), (5, 4), 2),  # it and its sum
        # it, the smaller matrix transposed, and the result transposed back
        (transposed_right, (3, 4), (5, 4), 3),
    ],
)
def test_compile_copies_a_matrix_of_a_product_only_if_neither_lies_well(function, a, b, made):
    """Either the rows of b or the columns of a are to lie in memory entry by entry."""
    source = javascript.compile({"f": (function, {"a": torch.ones(a), "b": torch.ones(b)})})
    assert arrays(source) == 2 + made


def test_product_wasm_is_its_text_assembled():
    assembled = wasmtime.wat2wasm((STATIC / "product.wat").read_text(encoding="utf-8"))
    assert (STATIC / "product.wasm").read_bytes() == assembled, (
        "write wasmtime.wat2wasm(text) to product.wasm"
    )


def arrays(source):
    """How many arrays the functions have."""
    return sum(1 + sizes.count(",") for sizes in re.findall(r"machine\(\[(.*)\]\);", source))
