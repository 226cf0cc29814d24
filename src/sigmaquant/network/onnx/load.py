"""The way from a file to a module: read, choose the batch, build, rewrite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from sigmaquant.errors import InputError, ModelError
from sigmaquant.network.imported import Example, ImportedModel, PortNames
from sigmaquant.network.onnx.building import Batches, build, identifier
from sigmaquant.network.onnx.reading import read_onnx
from sigmaquant.network.onnx.records import OnnxGraph, OnnxInput
from sigmaquant.network.onnx.rewrites import rewrite
from sigmaquant.network.onnx.tensorflow_names import with_keras_names
from sigmaquant.network.onnx.values import PROBED_BATCHES

_TOLERANCE = 1e-4


def load_onnx(
    path: str | Path,
    example_input: Tensor | Sequence[Tensor] | None = None,
    *,
    dequantize: bool = False,
) -> nn.Module:
    """A trainable module from a float ONNX file of opset 11 to 21.

    Layers are called as their weights or nodes in the file. Where the file leaves the batch open
    or fixes it to one, the module takes any.

    Args:
        path: of the file; external data are read from its folder only.
        example_input: a batch of inputs in the file's order; only needed where the file leaves
            other sizes open than the batch.
        dequantize: take a file that is quantized with pairs of QuantizeLinear and
            DequantizeLinear as the float network that it is without rounding of activations.

    Raises:
        MissingExtraError: onnx is not installed.
        ModelError: the file is missing, damaged or too large, or its sizes are not known.
        UnsupportedError: it holds an operator, or a form of one, that is not known, or is
            quantized already.
    """
    example = None if example_input is None else lambda _: example_input
    return import_onnx(path, example, dequantize=dequantize).module


def import_onnx(
    path: str | Path,
    example: Example | None = None,
    *,
    dequantize: bool = False,
) -> ImportedModel:
    """As ``load_onnx``, with inputs that fit; ``example`` is asked only where it is needed.

    Raises:
        InputError: see ``load_onnx``.
    """
    return import_graph(with_keras_names(read_onnx(path, dequantize=dequantize)), example)


def import_graph(graph: OnnxGraph, example: Example | None = None) -> ImportedModel:
    """As ``import_onnx``, from records, wherever they were read.

    Raises:
        InputError: see ``load_onnx``.
    """
    shapes = _sample_shapes(graph, example)
    batch = _file_batch(graph)
    if batch == 1:
        module = _for_any_batch(graph, shapes)
        if module is not None:
            return _imported(module, graph, shapes, PROBED_BATCHES[0])
    sizes = PROBED_BATCHES if batch is None else (batch,)
    module = rewrite(build(graph, shapes, Batches(sizes)))
    return _imported(module, graph, shapes, sizes[0])


def _imported(
    network: GraphModule, graph: OnnxGraph, shapes: Mapping[str, tuple[int, ...]], batch: int
) -> ImportedModel:
    zeros = tuple(
        torch.zeros((batch, *shapes[port.name]), dtype=port.dtype) for port in graph.inputs
    )
    module = _plain(network, identifier(Path(graph.file).stem))
    names = PortNames(tuple(port.name for port in graph.inputs), graph.outputs)
    return ImportedModel(module, zeros, names)


def _plain(network: GraphModule, name: str) -> nn.Module:
    """The same modules and ``forward`` as a class of that name.

    torch.export does not tell where a GraphModule's own modules are called, nor its name, which
    plans and reports show.
    """
    plain: nn.Module = type(name, (nn.Module,), {"forward": type(network).forward})()
    for child, module in network.named_children():
        plain.add_module(child, module)
    return plain.eval()


def _file_batch(graph: OnnxGraph) -> int | None:
    """The batch that the file fixes; None where it leaves it open."""
    sizes = {port.sizes[0] for port in graph.inputs}
    if len(sizes) > 1:
        raise ModelError(
            f"{graph.file}: its inputs have different first dimensions: "
            + ", ".join(f"{port.name} {list(port.sizes)}" for port in graph.inputs)
            + "; export it with the batch first in all of them"
        )
    return sizes.pop()


def _for_any_batch(graph: OnnxGraph, shapes: Mapping[str, tuple[int, ...]]) -> GraphModule | None:
    """A network for any batch from a file for one sample, if samples can be kept apart."""
    try:
        module = rewrite(build(graph, shapes, Batches(PROBED_BATCHES, one_sample=True)))
    except InputError:
        return None
    return module if _keeps_samples_apart(module, graph, shapes) else None


def _keeps_samples_apart(
    module: GraphModule, graph: OnnxGraph, shapes: Mapping[str, tuple[int, ...]]
) -> bool:
    """Whether a batch gives what its samples give one by one."""
    random = torch.Generator().manual_seed(0)
    inputs = [
        torch.rand((2, *shapes[port.name]), generator=random).to(port.dtype)
        for port in graph.inputs
    ]
    with torch.no_grad():
        try:
            together = _tuple(module(*inputs))
            alone = [_tuple(module(*(x[i : i + 1] for x in inputs))) for i in range(2)]
        except Exception:  # any of torch's: then it does not take a batch of this size
            return False
    return all(
        whole.shape == torch.Size((2, *first.shape[1:]))
        and len(first) == 1
        and torch.allclose(
            whole, torch.cat((first, second)), _TOLERANCE, _TOLERANCE, equal_nan=True
        )
        for whole, first, second in zip(together, *alone, strict=True)
    )


def _tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else outputs


def _sample_shapes(graph: OnnxGraph, example: Example | None) -> dict[str, tuple[int, ...]]:
    """The shape of every input without batch, from the file or else the example."""
    open_inputs = [port for port in graph.inputs if None in port.sizes[1:]]
    if not open_inputs:
        return {port.name: tuple(n or 0 for n in port.sizes[1:]) for port in graph.inputs}
    if example is None:
        port = open_inputs[0]
        raise ModelError(
            f"{graph.file} leaves sizes of its input {port.name!r} open: "
            f"{_shown(port.sizes)}; give an example input of the size in use"
        )
    given = example(tuple(port.name for port in graph.inputs))
    tensors = (given,) if isinstance(given, Tensor) else tuple(given)
    if len(tensors) != len(graph.inputs):
        raise ModelError(f"{graph.file} has {len(graph.inputs)} inputs, the example {len(tensors)}")
    pairs = zip(graph.inputs, tensors, strict=True)
    return {port.name: _fitting(port, tensor, graph.file) for port, tensor in pairs}


def _fitting(port: OnnxInput, tensor: Tensor, file: str) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    fits = len(shape) == len(port.sizes) and all(
        wanted in (None, found) for wanted, found in zip(port.sizes[1:], shape[1:], strict=True)
    )
    if not fits:
        raise ModelError(
            f"{file}: input {port.name!r} is {_shown(port.sizes)}, the example {list(shape)}"
        )
    return shape[1:]


def _shown(sizes: Sequence[int | None]) -> str:
    return "[" + ", ".join("?" if n is None else str(n) for n in sizes) + "]"
