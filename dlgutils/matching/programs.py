"""Traces to be run thousands of times: what does not change is computed once, the rest quickly."""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, GraphModule, Node
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from dlgutils.matching import patches
from dlgutils.matching.tracing import traced


class Program:
    """A function of what changes and what is fixed, as two lists of operations; it holds neither.

    Each argument is a tensor, or tuples and mappings of tensors as deep as you like; the function
    returns a tuple of tensors. Call `given` once for what is fixed, and what that returns with what
    changes, tensors of the shapes that the program was made with.
    """

    def __init__(self, function: Callable, *args: object):
        leaves, spec = tree_flatten(args)

        def flat(*leaves: Tensor) -> list[Tensor]:
            return list(function(*tree_unflatten(leaves, spec)))

        graph = traced(flat, *leaves, decompositions=patches.DECOMPOSITIONS)
        changing = len(tree_leaves(args[:-1]))
        self.before, every = _halves(graph, changing)
        constants = self.before(*leaves[changing:])
        self.every = _scripted(every, (*leaves[:changing], *constants))

    def given(self, fixed: object) -> Callable[..., tuple[Tensor, ...]]:
        """The function of what changes alone."""
        constants = self.before(*tree_leaves(fixed))

        def function(*changing: object) -> tuple[Tensor, ...]:
            with torch.inference_mode():  # for small operations, bookkeeping counts
                values = self.every(*tree_leaves(changing), *constants)
            return tuple(value.clone() for value in values)

        return function


def _halves(graph: GraphModule, changing: int) -> tuple[GraphModule, GraphModule]:
    """The operations that do not need the first inputs, as many as change, and those that do.

    The second half takes these inputs and all that the first returns. Where anything is changed in
    place, all operations are in it, since what the first returns is used again and again.
    """
    *nodes, output = graph.graph.nodes
    inputs = [node for node in nodes if node.op == "placeholder"]
    first, others = inputs[:changing], inputs[changing:]
    in_place = any(_changes_its_input(node) for node in nodes)
    late = {output, *first}
    for node in nodes:
        all_late = in_place and node.op == "call_function"
        if all_late or not late.isdisjoint(node.all_input_nodes):
            late.add(node)
    early = [node for node in nodes if node not in late]
    handed = [node for node in early if not late.isdisjoint(node.users)]
    every = [node for node in nodes if node in late]
    results = output.args[0]
    return (
        _part(graph, others, early, handed),
        _part(graph, [*first, *handed], every, results),
    )


def _part(
    graph: GraphModule, inputs: Sequence[Node], nodes: Sequence[Node], outputs: Sequence[Node]
) -> GraphModule:
    """These nodes of a graph as one of its own."""
    part = Graph()
    copies = {node: part.placeholder(node.name) for node in inputs}
    for node in nodes:
        if node not in copies:
            copies[node] = part.node_copy(node, copies.__getitem__)
    part.output(tuple(copies[node] for node in outputs))
    return GraphModule(graph, part)


def _changes_its_input(node: Node) -> bool:
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable


def _scripted(graph: GraphModule, inputs: tuple[Tensor, ...]) -> Callable:
    """The same in TorchScript, whose interpreter takes half the time for small operations.

    It is deprecated, but nothing else runs a graph without Python unless it is compiled for a
    minute. Where it is missing or refuses, and on other devices, the graph itself.
    """
    if any(tensor.device.type != "cpu" for tensor in inputs):
        return graph
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.jit.trace(graph, inputs, check_trace=False)
    except (AttributeError, RuntimeError):
        return graph
