"""Running a captured graph node by node, wholly or only what lies behind a changed node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from sigmaquant.network.normalise import tensor_of

Values = dict[Node, Any]
Watch = Callable[[Node, Any], Any]


class GraphRunner:
    """Runs the graph of a module that only holds ATen calls and parameters.

    Args:
        module: as captured; parameters are read at construction.

    Attributes:
        nodes: in order of execution.
        inputs: the placeholders.
        parameters: the value of every get_attr node.
        dying: by node, the nodes whose value is not read after it.
    """

    def __init__(self, module: GraphModule) -> None:
        self.nodes: tuple[Node, ...] = tuple(module.graph.nodes)
        self.inputs = tuple(node for node in self.nodes if node.op == "placeholder")
        self.parameters = {n: tensor_of(module, n) for n in self.nodes if n.op == "get_attr"}
        self._output = next(node for node in self.nodes if node.op == "output")
        self.dying = _last_uses(self.nodes)

    def values(self, inputs: Sequence[Tensor]) -> Values:
        """Run everything and keep the value of every node."""
        values: Values = {**self.parameters, **dict(zip(self.inputs, inputs, strict=True))}
        for node in self.nodes:
            if node.op == "call_function":
                values[node] = call(node, values)
        return values

    def watch(self, inputs: Sequence[Tensor], see: Watch) -> tuple[Tensor, ...]:
        """Run everything; ``see(node, value)`` gets each value and returns what goes on.

        A value is dropped after its last use. Returns the network's outputs.
        """
        values: Values = dict(self.parameters)
        given = dict(zip(self.inputs, inputs, strict=True))
        for node in self.nodes:
            if node.op == "placeholder":
                values[node] = see(node, given[node])
            elif node.op == "call_function":
                values[node] = see(node, call(node, values))
            elif node.op == "output":
                return self.outputs(values)
            for dead in self.dying[node]:
                values.pop(dead, None)
        raise AssertionError("a graph ends with its output")

    def behind(self, *sources: Node) -> tuple[Node, ...]:
        """The nodes whose value depends on the sources, in order of execution, without them."""
        reached = set(sources)
        for node in self.nodes:
            if not reached.isdisjoint(node.all_input_nodes):
                reached.add(node)
        return tuple(n for n in self.nodes if n in reached and n not in sources)

    def rerun(
        self,
        values: Mapping[Node, Any],
        behind: Sequence[Node],
        replaced: Mapping[Node, Any],
        see: Watch = lambda _, value: value,
    ) -> tuple[Tensor, ...]:
        """The outputs with some values replaced; only ``behind`` them is computed anew.

        ``see(node, value)`` gets each new value and returns what goes on.
        """
        changed: Values = {**values, **replaced}
        for node in behind:
            if node.op == "call_function":
                changed[node] = see(node, call(node, changed))
        return self.outputs(changed)

    def outputs(self, values: Mapping[Node, Any]) -> tuple[Tensor, ...]:
        """The tensors that the network returns."""
        returned = map_arg(self._output.args[0], lambda node: values[node])
        return tuple(flatten(returned))


def call(node: Node, values: Mapping[Node, Any]) -> Any:
    """The value of one call_function node."""
    arguments = map_arg(node.args, lambda n: values[n])
    keywords = map_arg(node.kwargs, lambda n: values[n])
    assert callable(node.target)
    return node.target(*arguments, **keywords)


def flatten(value: Any) -> list[Tensor]:
    """All tensors of nested tuples, lists and dicts, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [tensor for item in value.values() for tensor in flatten(item)]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in flatten(item)]
    return []


def _last_uses(nodes: Sequence[Node]) -> dict[Node, list[Node]]:
    """For each node, those whose value is not read after it."""
    last: dict[Node, Node] = {}
    for node in nodes:
        for used in node.all_input_nodes:
            last[used] = node
    dying: dict[Node, list[Node]] = {node: [] for node in nodes}
    for used, node in last.items():
        dying[node].append(used)
    return dying


def run_float(runner: GraphRunner, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The network's outputs, computed without keeping intermediate values."""
    with torch.no_grad():
        return runner.watch(inputs, lambda _, value: value)
