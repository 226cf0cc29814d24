"""From records to a ``torch.fx`` graph of modules, one node after the other."""

from __future__ import annotations

import contextlib
import keyword
import operator
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node

from sigmaquant.errors import ModelError, SigmaQuantError, UnsupportedError
from sigmaquant.network.onnx.call import Call, Known, Parameters, Step
from sigmaquant.network.onnx.naming import ModuleTree, module_paths
from sigmaquant.network.onnx.operators.table import OPERATORS
from sigmaquant.network.onnx.records import OnnxGraph, OnnxNode
from sigmaquant.network.onnx.values import META, Evaluator, Value

RANK = "rank"
"""Key of a node's ``meta``: number of dimensions of its value."""

WANTED_PATH = "wanted_path"
"""Key of a node's ``meta``: where its module should be, if that becomes free."""

LAYERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
"""Modules that may be called at several places with the same weights."""


@dataclass(frozen=True)
class Batches:
    """For which batch sizes a network is imported.

    Attributes:
        sizes: that are probed.
        one_sample: the file fixes a batch of 1, and the network is to take any.
    """

    sizes: tuple[int, ...]
    one_sample: bool = False

    @property
    def fixed(self) -> int | None:
        """The only size that the network takes; None for any."""
        return self.sizes[0] if len(self.sizes) == 1 else None


def build(graph: OnnxGraph, shapes: Mapping[str, tuple[int, ...]], batches: Batches) -> GraphModule:
    """A module that computes the graph.

    Args:
        graph: as read.
        shapes: of one sample of every input, by name, without batch.
        batches: that the module shall take.

    Raises:
        ModelError: a node's inputs do not fit it, or something would be too large.
        UnsupportedError: an operator, or a form of one, that is not known.
    """
    building = _Building(graph, batches)
    building.add_inputs(shapes)
    for position, node in enumerate(graph.nodes):
        building.add_node(node, position)
    return building.finished()


@dataclass
class _Building:
    """The network as far as it has been built."""

    graph: OnnxGraph
    batches: Batches
    fx: Graph = field(default_factory=Graph)
    tree: ModuleTree = field(default_factory=ModuleTree)
    values: dict[str, Value] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    parameters: Parameters = field(default_factory=dict)
    layers: dict[tuple[str, tuple[int, ...]], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.evaluator = Evaluator(self.batches.sizes)
        for name, tensor in self.graph.constants.items():
            self.values[name] = self._constant_value(name, (tensor,))

    def add_inputs(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """One placeholder for each input of the graph."""
        arguments = ["self"]
        for port in self.graph.inputs:
            sample = shapes[port.name]
            with _located(f"{self.graph.file}: input {port.name!r}"):
                tensors = self.evaluator.checked(
                    tuple(
                        torch.empty((batch, *sample), dtype=port.dtype, device=META)
                        for batch in self.batches.sizes
                    )
                )
            self.values[port.name] = Value(port.name, tensors)
            arguments.append(identifier(port.name, arguments))
            placeholder = self.fx.placeholder(arguments[-1])
            self.nodes[port.name] = self._ranked(placeholder, port.name)
        if self.batches.fixed is not None:
            self._fix_batch(self.batches.fixed)

    def add_node(self, node: OnnxNode, position: int) -> None:
        """Compute a node now if its inputs are known, else add its module."""
        call = self._call(node)
        builder = None if node.domain else OPERATORS.get(node.op_type)
        if builder is None:
            call.unsupported(
                "this operator is not known. Export the model without it (a simplifier such as "
                "onnxsim removes many), or give the PyTorch model it was made from"
            )
        with _located(call.where):
            built = builder(call)
            if isinstance(built, Known):
                self.values[node.outputs[0]] = self._constant_value(node.outputs[0], built.tensors)
            else:
                self._add_step(call, built, position)

    def finished(self) -> GraphModule:
        """The module, in evaluation mode."""
        results = [self._node_of(self.values[name]) for name in self.graph.outputs]
        self.fx.output(results[0] if len(results) == 1 else tuple(results))
        self.fx.lint()
        return GraphModule(self.tree.root, self.fx)

    def _call(self, node: OnnxNode) -> Call:
        return Call(
            node=node,
            inputs=tuple(self.values[name] if name else None for name in node.inputs),
            opset=self.graph.opset,
            file=self.graph.file,
            one_sample=self.batches.one_sample,
            parameters=self.parameters,
            evaluator=self.evaluator,
        )

    def _add_step(self, call: Call, step: Step, position: int) -> None:
        inputs = [call.value(index) for index in step.reads]
        names = call.node.outputs
        whole = step.module if len(step.parts) == 1 else nn.Sequential(*step.parts)
        results = self.evaluator.run(whole, inputs, names)
        if any(names[len(results) :]):
            call.unsupported(f"only its first {len(results)} outputs are made")
        self.values.update((value.name, value) for value in results if value.name)
        if all(value.known for value in inputs):
            return
        sources = [self._node_of(value) for value in inputs]
        if isinstance(step.module, nn.Identity):
            self.nodes[names[0]] = sources[0]
            return
        is_layer = getattr(step.module, "weight", None) is not None
        paths = module_paths(call.node, position, is_layer=is_layer)
        made = self._called(step, paths, sources)
        if len(results) == 1:
            self.nodes[names[0]] = self._ranked(made, names[0])
            return
        for index, name in enumerate(names):
            if name:
                piece = self.fx.call_function(operator.getitem, (made, index))
                self.nodes[name] = self._ranked(piece, name)

    def _called(self, step: Step, paths: tuple[str, ...], sources: list[Node]) -> Node:
        """The step's modules, one behind the other; the main one has the path."""
        for part in step.parts:
            suffix = "" if part is step.module else f"_{type(part).__name__.lower()}"
            wanted = tuple(path + suffix for path in paths)
            made = self.fx.call_module(self._path(part, wanted), tuple(sources))
            made.meta[RANK] = sources[0].meta[RANK]
            made.meta[WANTED_PATH] = wanted[0]
            sources = [made]
        return made

    def _path(self, module: nn.Module, wanted: tuple[str, ...]) -> str:
        """Where the module is now; a layer that is called again keeps its first place."""
        weights = tuple(map(id, module.parameters()))
        if not isinstance(module, LAYERS):
            return self.tree.add(wanted, module)
        key = (repr(module), weights)
        if key not in self.layers:
            self.layers[key] = self.tree.add(wanted, module)
        return self.layers[key]

    def _constant_value(self, name: str, tensors: tuple[Tensor, ...]) -> Value:
        count = len(self.batches.sizes)
        return Value(name, tensors * count if len(tensors) == 1 else tensors)

    def _node_of(self, value: Value) -> Node:
        """Where the network reads a value; a constant is put into the module first."""
        if value.name not in self.nodes:
            constant = value.constant
            holder = Held(constant) if constant is not None else self._repeated(value)
            path = self.tree.add([f"constants.{identifier(value.name)}"], holder)
            batch_source = next(iter(self.nodes.values()))
            self.nodes[value.name] = self._ranked(
                self.fx.call_module(path, (batch_source,)), value.name
            )
        return self.nodes[value.name]

    def _repeated(self, value: Value) -> nn.Module:
        """A constant that has one copy for each sample."""
        ranks = {len(shape) for shape in value.shapes}
        varying = [d for d in range(min(ranks)) if len(ranks) == 1 and value.follows_batch(d)]
        if len(varying) == 1:
            (dim,) = varying
            first = value.tensors[0].narrow(dim, 0, 1)
            if value.shapes[0][dim] == self.batches.sizes[0] and all(
                torch.equal(tensor, first.expand_as(tensor)) for tensor in value.tensors
            ):
                return Repeated(first.contiguous(), dim)
        raise UnsupportedError(
            f"{self.graph.file}: the value {value.name!r} is computed from the number of samples; "
            "export the model with a fixed batch"
        )

    def _fix_batch(self, size: int) -> None:
        first = self.graph.inputs[0].name
        path = self.tree.add(["fixed_batch"], FixedBatch(size, self.graph.file))
        self.nodes[first] = self._ranked(self.fx.call_module(path, (self.nodes[first],)), first)

    def _ranked(self, node: Node, name: str) -> Node:
        node.meta[RANK] = len(self.values[name].shapes[0])
        return node


@contextlib.contextmanager
def _located(where: str) -> Iterator[None]:
    """Give errors within the block their place, and torch's errors our type."""
    try:
        yield
    except SigmaQuantError as error:
        if str(error).startswith(where):
            raise
        raise type(error)(f"{where}: {error}") from error
    except Exception as error:  # torch raises of all kinds where shapes do not fit
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ModelError(f"{where}: {reason}") from error


class Held(nn.Module):
    """A constant tensor, trainable where it is float."""

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        if value.is_floating_point():
            self.register_parameter("value", nn.Parameter(value.contiguous()))
        else:
            self.register_buffer("value", value)

    def forward(self, _: Tensor) -> Tensor:
        """The constant, whatever the input."""
        return self.value


class Repeated(nn.Module):
    """A constant with one copy for each sample.

    Args:
        value: with one element along the dimension.
        dim: that follows the batch.
    """

    value: Tensor

    def __init__(self, value: Tensor, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("value", value)

    def forward(self, x: Tensor) -> Tensor:
        """As many copies as the input has samples."""
        sizes = list(self.value.shape)
        sizes[self.dim] = x.shape[0]
        return self.value.expand(sizes)


class FixedBatch(nn.Module):
    """Refuses other batch sizes than the one that the file fixes."""

    def __init__(self, size: int, file: str) -> None:
        super().__init__()
        self.size = size
        self.file = file

    def forward(self, x: Tensor) -> Tensor:
        """The input itself."""
        if x.shape[0] != self.size:
            raise ValueError(f"{self.file} takes batches of {self.size} only, not {x.shape[0]}")
        return x


def identifier(name: str, taken: Collection[str] = ()) -> str:
    """The name as one that Python can give an argument or a class, and none that is taken.

    >>> identifier("serving:0"), identifier("0"), identifier("in"), identifier("x.y", {"x_y"})
    ('serving_0', '_0', 'in_', 'x_y_')
    """
    text = re.sub(r"[^0-9A-Za-z_]", "_", name)
    text = text if text.isidentifier() else f"_{text}"
    while text in taken or keyword.iskeyword(text):
        text += "_"
    return text
