"""The code of one function while it is written."""

import base64
import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from dlgutils.javascript.loops import nest
from dlgutils.javascript.views import View, dense_strides, expand, permute

Operand = View | float


class Script:
    """What the functions of one script have in common: constants and loops, each written once."""

    def __init__(self) -> None:
        self.constants: dict[str, str] = {}
        self.loops: dict[str, str] = {}

    def constant(self, code: str) -> str:
        """The name of a constant with this value."""
        return self.constants.setdefault(code, f"constant{len(self.constants)}")

    def loop(self, code: str) -> str:
        """The name of a function of the arrays o, a, b and c that does this."""
        return self.loops.setdefault(code, f"loop{len(self.loops)}")

    def declarations(self) -> list[str]:
        """All of them, one a line."""
        lines = []
        for code, name in self.constants.items():
            lines.append(f"const {name} = {code};")
        for code, name in self.loops.items():
            lines.append(f"function {name}(o, a, b, c) {{ {code} }}")
        return lines


class Program:
    """One function: its arrays, what happens once, and what happens at each call."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.sizes: dict[str, int] = {}
        self.once: list[str] = []
        self.calls: list[str] = []

    def array(self, shape: Sequence[int]) -> View:
        """A new array."""
        name = f"t{len(self.sizes)}"
        self.sizes[name] = math.prod(shape)
        return View(name, tuple(shape), dense_strides(shape))

    def input(self, name: str, shape: Sequence[int]) -> View:
        """A new array, filled at each call with what the caller passes under this name."""
        out = self.array(shape)
        self.calls.append(f'{out.array}.set(inputs["{name}"]);')
        return out

    def constant(self, tensor: Tensor) -> View:
        """A new array with the entries of a tensor."""
        out = self.array(tensor.shape)
        entries = tensor.detach().float().contiguous().numpy()
        text = encode_base64(entries.astype("<f4").tobytes())
        name = self.script.constant(f'decoded("{text}")')
        self.once.append(f"{out.array}.set({name});")
        return out

    def dense(self, view: View) -> View:
        """The same entries in the order of an array without gaps: a copy, unless they lie so."""
        if view.is_dense:
            return view
        copy = self.array(view.shape)
        return self.fill(copy, "{0}", view)

    def elementwise(self, formula: str, shape: Sequence[int], *operands: Operand) -> View:
        """A new array of a formula of the operands' entries, such as "{0} + {1}".

        The operands are broadcast to the shape; the array lies in memory as they do.
        """
        axes = range(len(shape))
        longest = [0] * len(shape)
        for view in _expanded(operands, shape):
            longest = list(map(max, longest, view.strides))
        order = sorted(axes, key=lambda d: -longest[d])
        out = self.array([shape[d] for d in order])
        places = [order.index(d) for d in axes]
        out = permute(out, tuple(shape), places)
        return self.fill(out, formula, *operands)

    def fill(self, out: View, formula: str, *operands: Operand) -> View:
        """The view `out`, with a formula of the operands' entries written to it."""
        views = _expanded(operands, out.shape)
        loops = nest(out, *views)
        target, *entries = loops.entries
        remaining = iter(entries)
        terms = []
        for operand in operands:
            is_view = isinstance(operand, View)
            terms.append(next(remaining) if is_view else f"({operand!r})")
        right = formula.format(*terms)
        self._loop(f"{loops.outer}{target} = {right};", out, *views)
        return out

    def total(self, view: View, dims: Sequence[int], shape: Sequence[int]) -> View:
        """A new array of the sums over `dims`."""
        out = self.array(shape)
        axes = range(len(view.shape))
        kept = [d for d in axes if d not in dims]
        lengths = [view.shape[d] for d in kept]
        strides = [0] * len(axes)
        for d, step in zip(kept, dense_strides(lengths), strict=True):
            strides[d] = step
        target = View(out.array, view.shape, tuple(strides))
        loops = nest(target, view)
        target, entry = loops.entries
        body = f"let sum = 0; {loops.inner}sum += {entry}; {target} = sum;"
        self._loop(f"{loops.outer}{{ {body} }}", out, view)
        return out

    def call(self, function: str, *arguments: View | str | int) -> None:
        """Call a function of the page; a view is passed as its array."""
        words = []
        for argument in arguments:
            is_view = isinstance(argument, View)
            words.append(argument.array if is_view else str(argument))
        self.calls.append(f"{function}({', '.join(words)});")

    def source(self, outputs: Mapping[str, View]) -> str:
        """The body of a maker of the function, which returns the arrays of dense views by name."""
        sizes = ", ".join(map(str, self.sizes.values()))
        pairs = [f'"{name}": {view.array}' for name, view in outputs.items()]
        results = ", ".join(pairs)
        lines = [
            f"const {{ arrays, product }} = machine([{sizes}]);",
            f"const [{', '.join(self.sizes)}] = arrays;",
            *self.once,
            "return (inputs) => {",
            *self.calls,
            f"return {{ {results} }};",
            "};",
        ]
        return "\n".join([*lines, ""])

    def _loop(self, code: str, *views: View) -> None:
        self.call(self.script.loop(code), *views)


def _expanded(operands: Sequence[Operand], shape: Sequence[int]) -> list[View]:
    """The views among the operands, broadcast to a shape."""
    views = [operand for operand in operands if isinstance(operand, View)]
    return [expand(view, shape) for view in views]


def encode_base64(content: bytes) -> str:
    """Bytes as text, which the page decodes."""
    return base64.b64encode(content).decode()
