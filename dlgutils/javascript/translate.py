"""PyTorch functions as JavaScript, so that a page can run them and no formula is written twice.

A function is traced once, and its graph becomes a list of calls: loops over typed arrays, each
distinct one written once, and the kernels of static/kernels.js. The arrays of a function lie in one
memory, in which WebAssembly multiplies the matrices if the browser allows it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor
from torch.fx import GraphModule, Node

from dlgutils.javascript.bundle import bundle
from dlgutils.javascript.operations import DECOMPOSITIONS, translate_node
from dlgutils.javascript.program import Program, Script, encode_base64
from dlgutils.javascript.views import View
from dlgutils.matching.tracing import traced
from dlgutils.types import Tensors

Function = tuple[Callable[[Tensors], Tensors], Tensors]
"""A function of named tensors to named tensors, and an example of its argument."""

STATIC = Path(__file__).parent / "static"


def compile(functions: Mapping[str, Function]) -> str:
    """JavaScript source of an object `generated` with a maker of each function, and of its kernels.

    functions: by name, each a function of named tensors to named tensors, and an example of its
    argument, float32, which fixes all shapes. In the page, `const run = generated.name();
    run({x: new Float32Array(…), …})` returns an object of `Float32Array`s, which the next call
    overwrites; they are parts of one large memory, so post a copy (`slice`) of them.

    Raises NotImplementedError for an operation without a translation, which it names.
    """
    script = Script()
    makers = []
    for name, (function, example) in functions.items():
        body = _translate_function(function, example, script)
        makers.append(f"{name}() {{\n{body}}},")
    product = encode_base64((STATIC / "product.wasm").read_bytes())
    lines = [
        f'const productModule = "{product}";',
        bundle(STATIC / "kernels.js"),
        *script.declarations(),
        "const generated = {",
        *makers,
        "};",
        "",
    ]
    return "\n".join(lines)


def _translate_function(
    function: Callable[[Tensors], Tensors], example: Tensors, script: Script
) -> str:
    names = list(function(example))  # this call fills caches, which must not hold what is traced

    def flat(*tensors: Tensor) -> list[Tensor]:
        return list(function(dict(zip(example, tensors, strict=True))).values())

    # a tensor that has two names would be one input
    arguments = [tensor.clone() for tensor in example.values()]
    graph = traced(flat, *arguments, decompositions=DECOMPOSITIONS)
    program = Program(script)
    outputs = _translate_graph(graph, program, list(example))
    return program.source(dict(zip(names, outputs, strict=True)))


def _translate_graph(graph: GraphModule, program: Program, inputs: Sequence[str]) -> list[View]:
    """Write the graph into the program; returns where its outputs lie, without gaps.

    An operation on the same operands is written once.
    """
    views: dict[Node, View] = {}
    written: dict[tuple[object, str], View] = {}
    remaining = iter(inputs)
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            views[node] = program.input(next(remaining), node.meta["val"].shape)
        elif node.op == "get_attr":
            views[node] = program.constant(getattr(graph, node.target))
        elif node.op == "call_function":
            operands = [views[a] if isinstance(a, Node) else a for a in node.args]
            same = (node.target, repr(operands))
            if same not in written:
                written[same] = translate_node(node, program, operands)
            views[node] = written[same]
        else:
            return [program.dense(views[a]) for a in node.args[0]]
    raise AssertionError("a graph ends with its output")
