"""An ONNX graph as plain records: what is left of the file once it has been read and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from sigmaquant.errors import ModelError

Attribute: TypeAlias = (
    int | float | str | Tensor | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
)


@dataclass(frozen=True)
class OnnxInput:
    """A graph input.

    Attributes:
        name: as in the file.
        sizes: of every dimension, the batch first; None where the file leaves it open.
        dtype: of its elements.
    """

    name: str
    sizes: tuple[int | None, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class OnnxNode:
    """One node; an input or output that is left out is the empty string.

    Attributes:
        scopes: the modules around it and its own name, as torch's exporter notes them; else empty.
    """

    name: str
    op_type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    scopes: tuple[str, ...] = ()

    def __str__(self) -> str:
        label = self.name or " and ".join(filter(None, self.outputs))
        kind = f"{self.domain}.{self.op_type}" if self.domain else self.op_type
        return f"node {label!r} ({kind})"


@dataclass(frozen=True)
class OnnxGraph:
    """A graph whose nodes are in an order in which they can run, and all needed for the outputs.

    Attributes:
        file: for messages.
        opset: version of the standard operators.
        producer: what wrote the file, as it says.
    """

    file: str
    opset: int
    inputs: tuple[OnnxInput, ...]
    outputs: tuple[str, ...]
    nodes: tuple[OnnxNode, ...]
    constants: Mapping[str, Tensor]
    producer: str = ""


def ordered(
    nodes: Iterable[OnnxNode], given: Iterable[str], outputs: Iterable[str], file: str
) -> tuple[OnnxNode, ...]:
    """The nodes that the outputs depend on, each behind those whose results it reads.

    Args:
        nodes: of the graph, in any order.
        given: names of inputs and initializers.
        outputs: names of the graph's outputs.
        file: for messages.

    Raises:
        ModelError: two nodes write one name, a name is read that nothing writes, or nodes need
            each other in a circle.
    """
    makers = _makers(nodes, file)
    done: set[str] = set(given)
    order: list[OnnxNode] = []
    for output in outputs:
        _require(output, "the graph's output list", makers, done, file)
        _visit(makers.get(output), makers, done, order, file)
    read = {*outputs, *(name for node in order for name in node.inputs)}
    return tuple(_without_unread(node, read) for node in order)


def _without_unread(node: OnnxNode, read: set[str]) -> OnnxNode:
    """Leave out results that nothing reads, such as the mask of a dropout."""
    return replace(node, outputs=tuple(name if name in read else "" for name in node.outputs))


def _makers(nodes: Iterable[OnnxNode], file: str) -> dict[str, OnnxNode]:
    """The node behind every name that a node writes."""
    makers: dict[str, OnnxNode] = {}
    for node in nodes:
        for name in filter(None, node.outputs):
            if name in makers:
                raise ModelError(f"{file}: {makers[name]} and {node} both write {name!r}")
            makers[name] = node
    return makers


def _visit(
    start: OnnxNode | None,
    makers: Mapping[str, OnnxNode],
    done: set[str],
    order: list[OnnxNode],
    file: str,
) -> None:
    """Depth first, without recursion: a file may hold a chain of any length."""
    stack, open_names = [start] if start else [], set[str]()
    while stack:
        node = stack[-1]
        key = next(filter(None, node.outputs))
        missing = [name for name in node.inputs if name and name not in done]
        if key in done or not missing:
            stack.pop()
            if key not in done:
                order.append(node)
                done.update(filter(None, node.outputs))
            continue
        if key in open_names:
            raise ModelError(f"{file}: {node} needs its own result; the nodes form a circle")
        open_names.add(key)
        for name in missing:
            _require(name, str(node), makers, done, file)
        stack.extend(makers[name] for name in reversed(missing))


def _require(
    name: str, reader: str, makers: Mapping[str, OnnxNode], done: set[str], file: str
) -> None:
    if name not in makers and name not in done:
        raise ModelError(
            f"{file}: {reader} reads {name!r}, which is neither an input nor an initializer nor "
            "made by a node; the file is damaged, export it again"
        )
