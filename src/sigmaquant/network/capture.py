"""From an ``nn.Module`` to a ``Network``: what all later stages work on."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.fx.experimental.symbolic_shapes import is_concrete_int

from sigmaquant.errors import ModelError
from sigmaquant.layers import LayerTable
from sigmaquant.network.encodings import Encodings, find_encodings, name_places
from sigmaquant.network.exporting import export, functional, load_program, save_program
from sigmaquant.network.imported import ImportedModel, PortNames
from sigmaquant.network.normalise import normalise, tensor_of
from sigmaquant.network.operators import Role, layer_name, role_of
from sigmaquant.network.runner import GraphRunner, run_float
from sigmaquant.network.table import layer_table

# Keys of notes in saved networks.
_PORTS = "sigmaquant.ports"
_FLOAT_LAYERS = "sigmaquant.float_layers"
_PROBE_BATCHES = (2, 3)  # a dimension that follows both is the batch; one would be coincidence


@dataclass(frozen=True)
class Network:
    """A captured network: float, batch norms folded, ready to be scored, quantized and trained.

    Attributes:
        module: the graph with its float parameters. Never edited after capture.
        table: layers, tensors and schedule, without weights.
        encodings: which values are integers and which share an encoding.
        places: the name of every computing node.
        input_shapes: of each input, without batch.
        input_dtypes: of each input.
        batch_size: None where any batch size runs; else the only one that does.
        program: what torch.export gave, for saving.
        ports: what inputs and outputs are called in an imported network; exported files keep it.
        float_layers: layers that stay float because they are asked to.
    """

    module: GraphModule
    table: LayerTable
    encodings: Encodings
    places: dict[Node, str]
    input_shapes: tuple[tuple[int, ...], ...]
    input_dtypes: tuple[torch.dtype, ...]
    batch_size: int | None
    program: ExportedProgram
    ports: PortNames | None = None
    float_layers: tuple[str, ...] = ()

    def runner(self) -> GraphRunner:
        """Runs the float network node by node."""
        return GraphRunner(self.module)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The float network's outputs, flattened to a tuple of tensors."""
        return run_float(self.runner(), inputs)

    def layer_nodes(self) -> dict[str, tuple[Node, ...]]:
        """The places where each layer is called, by layer name."""
        found: dict[str, tuple[Node, ...]] = {}
        for node, role in self.encodings.roles.items():
            if role is Role.LAYER:
                found[layer_name(node)] = (*found.get(layer_name(node), ()), node)
        return found

    def digest(self) -> str:
        """SHA-256 of the graph and all parameters, to recognise the network when a run resumes."""
        digest = hashlib.sha256(self.table.model_dump_json().encode())
        if self.ports is not None:
            digest.update(repr(self.ports).encode())
        for name, value in sorted(self.module.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the network as a ``.pt2`` file."""
        notes = {} if self.ports is None else {_PORTS: json.dumps(asdict(self.ports))}
        if self.float_layers:
            notes[_FLOAT_LAYERS] = json.dumps(self.float_layers)
        save_program(self.program, path, notes)

    @classmethod
    def load(cls, path: str | Path) -> Network:
        """Read a network from a ``.pt2`` file, ours or any that torch.export wrote.

        Raises:
            ModelError: the file is missing or not of that kind.
        """
        notes = {_PORTS: "", _FLOAT_LAYERS: ""}
        program = functional(load_program(path, notes))
        network = _network(program, json.loads(notes[_FLOAT_LAYERS] or "[]"))
        return replace(network, ports=_ports(notes[_PORTS])) if notes[_PORTS] else network

    def with_float_layers(self, layers: Iterable[str]) -> Network:
        """The same network with some layers left in float, as they are.

        For the few that lose too much: a first layer whose channels differ so much that 8 bits do
        not tell the values of most of them apart. Their weights count as float32 in flash, and no
        device's profile knows their time and energy. ONNX, QONNX and Qualcomm files hold them;
        TensorFlow Lite and C refuse convolutions in float.

        Args:
            layers: names as in ``table``; those that stayed float before do so too.

        Raises:
            ModelError: the network has no such layer, or no other.
        """
        kept = tuple(sorted({*self.float_layers, *layers}))
        return replace(_network(self.program, kept), ports=self.ports)


def capture(
    model: nn.Module | str | Path,
    example_input: Tensor | Sequence[Tensor] | None = None,
    *,
    dequantize: bool = False,
    float_layers: Iterable[str] = (),
) -> Network:
    """Capture a trained network.

    Args:
        model: any module that torch.export takes; it is not changed. Or an ONNX file.
        example_input: a tensor, or one for each input, with the batch first. Its values don't
            matter, its shapes and types do. May be left out for an ONNX file that says them.
        dequantize: take an ONNX file that is quantized; see ``load_onnx``.
        float_layers: names of layers to leave in float; see ``Network.with_float_layers``.

    Raises:
        ModelError: the model does not run on the example, cannot be exported, holds NaN or other
            types than float32, has an output without batch, or no layer that can be quantized;
            the file cannot be read; or it has no layer of a name in ``float_layers``.
        UnsupportedError: the file holds an operator that is not known.
        MissingExtraError: onnx, which reads the file, is not installed.
    """
    if isinstance(model, nn.Module):
        if example_input is None:
            raise ModelError(f"give an example input to capture a {type(model).__name__} with")
        return _network(export(model, example_input), float_layers)
    from sigmaquant.network.onnx import import_onnx

    example = None if example_input is None else lambda _: example_input
    network = captured(import_onnx(model, example, dequantize=dequantize))
    return network.with_float_layers(float_layers) if float_layers else network


def captured(imported: ImportedModel) -> Network:
    """Capture a network that was imported; it keeps the names of its inputs and outputs.

    Raises:
        ModelError: see ``capture``.
    """
    network = _network(export(imported.module, imported.example_inputs))
    return replace(network, ports=imported.ports)


def _ports(text: str | bytes) -> PortNames:
    names = json.loads(text)
    return PortNames(tuple(names["inputs"]), tuple(names["outputs"]))


def _network(program: ExportedProgram, float_layers: Iterable[str] = ()) -> Network:
    if any(node.op == "get_attr" for node in program.graph.nodes):
        raise ModelError(
            "the model holds graphs within its graph (torch.cond, a loop or a scan), which cannot "
            "be quantized; use torch.where or plain Python loops"
        )
    module = normalise(program.module())
    batch_size = _annotate_shapes(module, program)
    nodes = tuple(module.graph.nodes)
    places = name_places(nodes)
    _check_outputs(nodes[-1], places)
    kept = tuple(float_layers)
    _check_known(kept, nodes)
    encodings = find_encodings(module.graph, places, kept)
    sizes = {str(n.target): tensor_of(module, n).numel() for n in nodes if n.op == "get_attr"}
    table = layer_table(_class_name(nodes), nodes, encodings, places, sizes)
    if not table.layers:
        raise ModelError(
            f"{table.network} has no convolution or linear layer that can be quantized; operators "
            f"found: {', '.join(table.float_operators[:8]) or 'none'}"
        )
    inputs = [node for node in nodes if node.op == "placeholder"]
    return Network(
        module=module,
        table=table,
        encodings=encodings,
        places=places,
        input_shapes=tuple(n.meta["shape"] for n in inputs),
        input_dtypes=tuple(n.meta["val"].dtype for n in inputs),
        batch_size=batch_size,
        program=program,
        float_layers=kept,
    )


def _check_known(float_layers: Sequence[str], nodes: Iterable[Node]) -> None:
    known = {layer_name(node) for node in nodes if role_of(node) is Role.LAYER}
    for name in float_layers:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or sorted(known)[:8]
            raise ModelError(
                f"the network has no layer {name!r} to leave in float; there are, for example, "
                f"{', '.join(near)}"
            )


def _check_outputs(output: Node, places: dict[Node, str]) -> None:
    for node in output.all_input_nodes:
        if node.meta["shape"] is None:
            raise ModelError(
                f"the output made by {places.get(node, node.name)} is not a tensor with the batch "
                "first; wrap the model so that it returns only such tensors"
            )


def _class_name(nodes: Sequence[Node]) -> str:
    """The class of the exported module: the outermost frame of any node's module stack."""
    for node in nodes:
        for path, kind in node.meta.get("nn_module_stack", {}).values():
            if path == "":
                return str(kind).rpartition(".")[2]
    return "Network"


def _annotate_shapes(module: GraphModule, program: ExportedProgram) -> int | None:
    """Set ``meta["shape"]``, without batch, on every node whose value has the batch first.

    Returns the only batch size that runs, or None where any does.
    """
    runner = GraphRunner(module)
    size = runner.inputs[0].meta["val"].shape[0]
    batch_size = int(size) if is_concrete_int(size) else None
    assert program.example_inputs is not None
    example, _ = program.example_inputs
    probes = (batch_size,) if batch_size is not None else _PROBE_BATCHES
    seen = [_shapes(runner, example, batch) for batch in probes]
    for node in runner.nodes:
        first, *others = (shapes.get(node) for shapes in seen)
        node.meta["shape"] = first if all(shape == first for shape in others) else None
    return batch_size


def _shapes(
    runner: GraphRunner, example: Sequence[Tensor], batch: int
) -> dict[Node, tuple[int, ...]]:
    """Shapes, without batch, of all activations whose first dimension is as long as the batch."""
    inputs = [x[:1].expand(batch, *x.shape[1:]) for x in example]
    with torch.no_grad():
        values = runner.values(inputs)
    return {
        node: tuple(value.shape[1:])
        for node, value in values.items()
        if isinstance(value, Tensor) and value.dim() > 0 and len(value) == batch
        if node.op != "get_attr"
    }
