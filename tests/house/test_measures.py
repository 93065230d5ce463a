"""The measures of the code count what they say, wherever it hides."""

from pathlib import Path

import pytest

from tools import measures

PYTHON = """
async def fetch():
{long}

class Client:
    async def fetch(self):
        {nested}

def outer():
    async def inner():
        {nested}
    return inner

async def another_round():
    model = init_default(lenet(), generator)
    return share(model, batch)

_low, (_high, *_rest) = 0, (1, 2)
last = list(shared.gradient)[-1]
last = [*gradient.values()][-1]
name = next(reversed(shared.gradient))
rows = {{k: [x for x in row] for k, row in table}}
"""
FUNCTIONS = {
    "function": "function f() {",
    "default export": "export default async function () {",
    "generator": "function* f() {",
    "expression": "const f = function () {",
    "callback": "each(function (x) {",
    "arrow": "const f = async (x) => {",
    "arrow in a condition": "if (rows.some((row) => {",
    "long signature": "export function f(\n    a,\n    b,\n) {",
    "long arrow": "const f = ({\n    a,\n    b,\n}) => {",
    "method": "    format(x) {",
    "long method": "    draw(\n        a,\n        b,\n    ) {",
    "default argument": "    draw(at = now()) {",
    "static method": "    static async draw() {",
    "private getter": "    get #size() {",
    "generator method": "    async *rows() {",
    "computed method": "    [Symbol.iterator]() {",
    "property": "    draw: function () {",
}
OTHERS = {
    "if": "    if (f(x)) {",
    "else if": "    } else if (x) {",
    "long if": "if (\n    a &&\n    b\n) {",
    "for": "for (const x of xs) {",
    "catch": "} catch (error) {",
    "object": "const table = {",
    "class": "export class Film {",
    "argument": "draw(x, {",
}


@pytest.fixture
def checkout(tmp_path):
    """checkout(files): a checkout whose library has these files, {name: text}."""

    def write(files):
        (tmp_path / "dlgutils").mkdir()
        for name, text in files.items():
            (tmp_path / "dlgutils" / name).write_text(text, encoding="utf-8")
        return tmp_path

    return write


def statements(indent, text="x = 1"):
    """36 lines, one more than a function may have."""
    return "\n".join([indent + text] * 36)


def test_measure_counts_what_is_over_a_limit_in_python(checkout):
    text = PYTHON.format(long=statements("    "), nested=statements("        ").strip())
    found = measures.measure(checkout({"module.py": text}))
    names = [place.split(": ")[1] for place in found["Python functions over 35 lines"].where]
    assert sorted(names) == ["fetch, 36", "fetch, 36", "inner, 36", "outer, 38"]
    assert found["functions that make an honest round"].value == 1
    assert found["places that look for the last layer"].value == 3
    assert found["nested comprehensions"].value == 1
    assert found["private top-level names, per cent"].value == pytest.approx(100 * 3 / 11)


@pytest.mark.parametrize("head", FUNCTIONS.values(), ids=FUNCTIONS)
def test_script_blocks_has_every_kind_of_function(head):
    blocks = [*measures.script_blocks(script(head))]
    assert [length for _, length in blocks] == [36]
    assert blocks[0][0].split("(")[0].strip() in head


@pytest.mark.parametrize("head", OTHERS.values(), ids=OTHERS)
def test_script_blocks_leaves_other_blocks_out(head):
    assert [*measures.script_blocks(script(head))] == []


def script(head):
    """A block with this head and 36 lines, in a formatted file."""
    last = head.splitlines()[-1]
    indent = measures.indentation(last)
    return f"{head}\n{statements(indent + '    ', 'x += 1;')}\n{indent}}}\n"


def test_measure_counts_long_scripts(checkout: Path):
    found = measures.measure(checkout({"page.js": script("function f() {")}))
    (place,) = found["JavaScript functions over 35 lines"].where
    assert place.endswith("page.js: function f() {, 36")
