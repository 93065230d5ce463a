"""How readable the code is, in numbers: python tools/measures.py [ROOT ...], a column for each.

Counted are the Python files of `dlgutils` and the JavaScript that it and the book serve; copies of
common tasks are counted in the library, its tests, benchmarks and tools. What is over a limit is
listed below the table.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LONGEST_FUNCTION = 35  # lines of its body, without the docstring
WIDEST_LINE = 100
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
NOT_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.STRING,
    tokenize.ENDMARKER,
}
LAST_LAYER = re.compile(
    r"\*(names|others|_), (last|\(name)|(list\(|\[\*)[\w.]*gradient(\.\w+\(\))?[\])]\[-1\]"
    r"|reversed\([\w.]*gradient"
)
SCRIPT_FUNCTION = re.compile(r"\bfunction\b|=>")
SCRIPT_METHOD = re.compile(r"\s+((static|async|get|set) |\*)*(#?[\w$]+|\[.*\])\(.*\) \{$")
SCRIPT_BLOCK = re.compile(r"\s*(\} )?(if|for|while|switch|catch|else|with) (?!.*=> \{$)")


class Measure(NamedTuple):
    """A number, and the places that it counts."""

    value: float
    where: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The number with one decimal, or none if it is whole."""
        return f"{self.value:.1f}" if isinstance(self.value, float) else str(self.value)


LIMITS = {
    "modules over 250 lines": 0,
    "modules over 200 lines": 3,
    "Python functions over 35 lines": 0,
    "JavaScript functions over 35 lines": 0,
    "tokens a line of code": 10,
    "nested comprehensions": 0,
    "lines over 100 columns": 0,
    "private top-level names, per cent": 50,
    "functions that make an honest round": 1,
    "places that look for the last layer": 1,
    "modules that hook a forward pass": 1,
}
"""The most of each measure that the tests accept."""


def measure(root: Path) -> dict[str, Measure]:
    """All measures of the checkout at `root`, by name."""
    python = {path: path.read_text(encoding="utf-8") for path in library(root)}
    scripts = {path: path.read_text(encoding="utf-8") for path in javascript(root)}
    trees = {path: ast.parse(text) for path, text in python.items()}
    places = {
        "modules over 250 lines": longer_than({**python, **scripts}, 250),
        "modules over 200 lines": longer_than({**python, **scripts}, 200),
        "Python functions over 35 lines": long_functions(trees),
        "JavaScript functions over 35 lines": long_scripts(scripts),
        "nested comprehensions": nested_comprehensions(trees),
        "lines over 100 columns": wide_lines({**python, **scripts}),
        "functions that make an honest round": honest_rounds(root),
        "places that look for the last layer": matches(python, LAST_LAYER),
        "modules that hook a forward pass": containing(python, "register_forward_"),
    }
    counted = {name: Measure(len(where), tuple(where)) for name, where in places.items()}
    counted["modules"] = Measure(len(python))
    counted["tokens a line of code"] = Measure(tokens_per_line(python.values()))
    counted["private top-level names, per cent"] = Measure(private_share(trees.values()))
    return counted


def library(root: Path) -> list[Path]:
    """The Python files of the library."""
    return sorted((root / "dlgutils").rglob("*.py"))


def javascript(root: Path) -> list[Path]:
    """The JavaScript files that pages get, without what others wrote."""
    own = [*(root / "dlgutils").rglob("*.js"), *(root / "assets").glob("*.js")]
    return sorted(own)


def longer_than(files: dict[Path, str], lines: int) -> list[str]:
    """The files with more than `lines` lines, each with its number of lines."""
    lengths = {path: len(text.splitlines()) for path, text in files.items()}
    return [f"{path}: {n}" for path, n in lengths.items() if n > lines]


def long_functions(trees: dict[Path, ast.Module]) -> list[str]:
    """Python functions whose body is too long."""
    found = []
    for path, tree in trees.items():
        for function in functions(tree):
            body = function.body[1:] if ast.get_docstring(function) else function.body
            length = function.end_lineno - body[0].lineno + 1 if body else 0
            if length > LONGEST_FUNCTION:
                found.append(f"{path}: {function.name}, {length}")
    return found


def functions(tree: ast.AST) -> Iterator[FUNCTION]:
    """All functions and methods of a tree, inner and asynchronous ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, FUNCTION))


def long_scripts(files: dict[Path, str]) -> list[str]:
    """JavaScript functions whose body, between its braces, is too long."""
    found = []
    for path, text in files.items():
        for opening, length in script_blocks(text):
            if length > LONGEST_FUNCTION:
                found.append(f"{path}: {opening.strip()[:50]}, {length}")
    return found


def script_blocks(text: str) -> Iterator[tuple[str, int]]:
    """The signature of each JavaScript function, and how many lines lie between its braces.

    Files are formatted: a brace that closes a block is indented like the line that opened it.
    """
    lines = text.splitlines()
    for start, line in enumerate(lines):
        if line.endswith("{") and is_script_function(signature(lines, start)):
            closing = indentation(line) + "}"
            ends = (k for k in range(start + 1, len(lines)) if lines[k].startswith(closing))
            yield signature(lines, start), next(ends, len(lines)) - start - 1


def signature(lines: list[str], end: int) -> str:
    """Line `end`; if it closes the list of arguments, joined with those from the one that opens it.

    The opening line is the last one of the same indentation.
    """
    start = end
    if re.match(r"\s*[\]}]*\)", lines[end]):
        indent = indentation(lines[end])
        before = (k for k in reversed(range(end)) if indentation(lines[k]) == indent)
        start = next(before, end)
    return lines[start] + "".join(line.strip() for line in lines[start + 1 : end + 1])


def is_script_function(signature: str) -> bool:
    """Whether a line that ends in a brace begins a function or a method, and not another block."""
    if SCRIPT_BLOCK.match(signature):
        return False
    return bool(SCRIPT_FUNCTION.search(signature) or SCRIPT_METHOD.match(signature))


def indentation(line: str) -> str:
    """The blanks that a line begins with."""
    return line[: len(line) - len(line.lstrip())]


def nested_comprehensions(trees: dict[Path, ast.Module]) -> list[str]:
    """Comprehensions with another one inside."""
    found = []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            inner = (n for n in ast.walk(node) if n is not node)
            if isinstance(node, COMPREHENSIONS) and any(
                isinstance(n, COMPREHENSIONS) for n in inner
            ):
                found.append(f"{path}:{node.lineno}")
    return found


def wide_lines(files: dict[Path, str]) -> list[str]:
    """Lines that are too wide."""
    found = []
    for path, text in files.items():
        for number, line in enumerate(text.splitlines(), 1):
            if len(line) > WIDEST_LINE:
                found.append(f"{path}:{number}")
    return found


def tokens_per_line(texts: Iterator[str]) -> float:
    """Names, numbers and operators per line that has any; strings and comments do not count."""
    tokens = lines = 0
    for text in texts:
        stream = tokenize.generate_tokens(io.StringIO(text).readline)
        code = [token for token in stream if token.type not in NOT_CODE]
        tokens += len(code)
        lines += len({token.start[0] for token in code})
    return tokens / max(lines, 1)


def private_share(trees: Iterator[ast.Module]) -> float:
    """The share of top-level names that begin with _, in per cent."""
    names = [name for tree in trees for name in top_level_names(tree) if not name.startswith("__")]
    private = [name for name in names if name.startswith("_")]
    return 100 * len(private) / max(len(names), 1)


def top_level_names(tree: ast.Module) -> Iterator[str]:
    """What a module defines."""
    for node in tree.body:
        if isinstance(node, FUNCTION | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from assigned_names(node)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def assigned_names(node: ast.Assign) -> Iterator[str]:
    """The names that an assignment makes, those in tuples too."""
    for target in node.targets:
        for part in ast.walk(target):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                yield part.id


def honest_rounds(root: Path) -> list[str]:
    """Functions that draw weights and share a gradient of them: `federated.honest` does both."""
    found = []
    for folder in ("dlgutils", "tests", "benchmarks", "reproduce", "tools"):
        for path in sorted((root / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if "share(" not in text or "init" not in text:
                continue  # most files, which need not be parsed
            for function in functions(ast.parse(text)):
                called = {name.split(".")[-1] for name in called_names(function)}
                draws = any(name.startswith("init") for name in called)
                if draws and "share" in called and not function.name.startswith("test_"):
                    found.append(f"{path}: {function.name}")
    return found


def called_names(function: FUNCTION) -> Iterator[str]:
    """What a function calls, as it is written: "federated.share"."""
    return (ast.unparse(n.func) for n in ast.walk(function) if isinstance(n, ast.Call))


def matches(files: dict[Path, str], pattern: re.Pattern) -> list[str]:
    """Lines in which a pattern is found."""
    found = []
    for path, text in files.items():
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path}:{number}")
    return found


def containing(files: dict[Path, str], word: str) -> list[str]:
    """Files in which a word occurs."""
    return [str(path) for path, text in files.items() if word in text]


def main(roots: list[str]) -> None:
    """Print a table with a column for each root, and what is over a limit in the last one."""
    columns = [measure(Path(root)) for root in roots]
    print(f"| measure | limit | {' | '.join(roots)} |\n|---|---|{'---|' * len(roots)}")
    for name in columns[0]:
        values = " | ".join(column[name].text for column in columns)
        print(f"| {name} | {LIMITS.get(name, '')} | {values} |")
    for name, limit in LIMITS.items():
        found = columns[-1][name]
        if found.value > limit and found.where:
            print(f"\n{name}:", *found.where, sep="\n  ")


if __name__ == "__main__":
    main(sys.argv[1:] or [str(Path(__file__).resolve().parents[1])])
