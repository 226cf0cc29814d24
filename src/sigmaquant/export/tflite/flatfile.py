"""The bytes of a TensorFlow Lite file; the one module that imports flatbuffers and the schema.

They are written with the classes that LiteRT generates from ``schema.fbs``. Equal vectors are
stored once: a flatbuffer may point at one from many places, and per-channel zero points, which are
all zero here, would else cost eight bytes a channel. (A single zero point for many scales would do,
but LiteRT refuses it.)
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.errors import MissingExtraError

try:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema
except ImportError as error:
    raise MissingExtraError("TensorFlow Lite export", "tflite") from error

FLOAT32 = int(schema.TensorType.FLOAT32)
INT32 = int(schema.TensorType.INT32)
UINT8 = int(schema.TensorType.UINT8)
INT8 = int(schema.TensorType.INT8)
INT4 = int(schema.TensorType.INT4)
INT2 = int(schema.TensorType.INT2)
SAME = int(schema.Padding.SAME)
VALID = int(schema.Padding.VALID)

SIGNATURE = "serving_default"
"""Key of the one signature, as TensorFlow's converter calls it."""

_SCHEMA_VERSION = 3
_FILE_IDENTIFIER = b"TFL3"
_DATA_ALIGNMENT = 16  # the runtime maps the file and reads constants in place
_LAST_SHORT_CODE = 127  # PLACEHOLDER_FOR_GREATER_OP_CODES of schema.fbs

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Quantization:
    """How a tensor's integers stand for real numbers: ``scale * (q - zero_point)``.

    Attributes:
        scales: one, or one for each index of ``axis``.
        zero_point: of all channels.
        axis: dimension that the scales run along.
    """

    scales: tuple[float, ...]
    zero_point: int = 0
    axis: int = 0

    def real(self, integers: Array) -> npt.NDArray[np.float32]:
        """What integers of one scale stand for, in float32."""
        (scale,) = self.scales
        return (integers.astype(np.int32) - self.zero_point).astype(np.float32) * np.float32(scale)


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file; ``content`` is None where it is computed."""

    name: str
    shape: tuple[int, ...]
    kind: int
    quantization: Quantization | None = None
    content: bytes | None = None


@dataclass(frozen=True)
class Operator:
    """An operator of the file: tensors by number, and the schema's table of its options."""

    kind: str
    version: int
    inputs: tuple[int, ...]
    output: int
    options: tuple[str, Mapping[str, Any]] | None


@dataclass(frozen=True)
class Contents:
    """Everything that a file holds.

    Attributes:
        tensors: by number.
        operators: in order of execution.
        inputs: tensors by the names that the signature gives them.
        outputs: the same.
        exposed: further tensors that are outputs, without a name in the signature.
        description: of the model.
        metadata: texts by name.
    """

    tensors: Sequence[Tensor]
    operators: Sequence[Operator]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    exposed: Sequence[int]
    description: str
    metadata: Mapping[str, str]


def file_content(contents: Contents) -> bytes:
    """The file's bytes, the same for the same contents."""
    return _Writer(contents).write()


class _Writer:
    """One flatbuffer while it is written; offsets by content, so that equal vectors are shared."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._builder: Any = flatbuffers.Builder(1024)
        self._shared: dict[tuple[str, bytes], int] = {}
        self._buffers: list[int] = []
        self._buffer_of: dict[bytes, int] = {}

    def write(self) -> bytes:
        """The parts from the leaves to the root, as flatbuffers want them."""
        builder = self._builder
        self._buffer(b"")  # buffer 0 stands for none
        metadata = self._metadata()
        subgraph = self._offsets([self._subgraph()])
        codes = self._offsets([self._code(*code) for code in self._codes()])
        signatures = self._offsets([self._signature()])
        buffers = self._offsets(self._buffers)
        description = self._string(self._contents.description)
        schema.ModelStart(builder)
        schema.ModelAddVersion(builder, _SCHEMA_VERSION)
        schema.ModelAddOperatorCodes(builder, codes)
        schema.ModelAddSubgraphs(builder, subgraph)
        schema.ModelAddDescription(builder, description)
        schema.ModelAddBuffers(builder, buffers)
        schema.ModelAddMetadata(builder, metadata)
        schema.ModelAddSignatureDefs(builder, signatures)
        builder.Finish(schema.ModelEnd(builder), file_identifier=_FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _codes(self) -> list[tuple[str, int]]:
        return list(dict.fromkeys((op.kind, op.version) for op in self._contents.operators))

    def _code(self, kind: str, version: int) -> int:
        code, builder = int(getattr(schema.BuiltinOperator, kind)), self._builder
        schema.OperatorCodeStart(builder)
        schema.OperatorCodeAddDeprecatedBuiltinCode(builder, min(code, _LAST_SHORT_CODE))
        schema.OperatorCodeAddVersion(builder, version)
        schema.OperatorCodeAddBuiltinCode(builder, code)
        return int(schema.OperatorCodeEnd(builder))

    def _subgraph(self) -> int:
        builder, contents = self._builder, self._contents
        codes = {code: index for index, code in enumerate(self._codes())}
        tensors = self._offsets([self._tensor(tensor) for tensor in contents.tensors])
        operators = self._offsets(
            [self._operator(op, codes[op.kind, op.version]) for op in contents.operators]
        )
        inputs = self._vector(np.array(list(contents.inputs.values()), np.int32))
        results = (*contents.outputs.values(), *contents.exposed)
        outputs = self._vector(np.array(results, np.int32))
        schema.SubGraphStart(builder)
        schema.SubGraphAddTensors(builder, tensors)
        schema.SubGraphAddInputs(builder, inputs)
        schema.SubGraphAddOutputs(builder, outputs)
        schema.SubGraphAddOperators(builder, operators)
        return int(schema.SubGraphEnd(builder))

    def _tensor(self, tensor: Tensor) -> int:
        builder = self._builder
        buffer = 0 if tensor.content is None else self._buffer(tensor.content)
        quantization = self._quantization(tensor.quantization)
        shape = self._vector(np.array(tensor.shape, np.int32))
        name = self._string(tensor.name)
        # The batch of 1 can be resized; -1 says so.
        dynamic = (
            self._vector(np.array((-1, *tensor.shape[1:]), np.int32))
            if tensor.content is None
            else None
        )
        schema.TensorStart(builder)
        schema.TensorAddShape(builder, shape)
        schema.TensorAddType(builder, tensor.kind)
        schema.TensorAddBuffer(builder, buffer)
        schema.TensorAddName(builder, name)
        if quantization is not None:
            schema.TensorAddQuantization(builder, quantization)
        if dynamic is not None:
            schema.TensorAddShapeSignature(builder, dynamic)
        return int(schema.TensorEnd(builder))

    def _quantization(self, quantization: Quantization | None) -> int | None:
        if quantization is None:
            return None
        builder = self._builder
        scales = np.array(quantization.scales, np.float32)
        scale = self._vector(scales)
        zero_point = self._vector(np.full(len(scales), quantization.zero_point, np.int64))
        schema.QuantizationParametersStart(builder)
        schema.QuantizationParametersAddScale(builder, scale)
        schema.QuantizationParametersAddZeroPoint(builder, zero_point)
        schema.QuantizationParametersAddQuantizedDimension(builder, quantization.axis)
        return int(schema.QuantizationParametersEnd(builder))

    def _operator(self, operator: Operator, code: int) -> int:
        builder, options, kind = self._builder, None, 0
        if operator.options is not None:
            table, fields = operator.options
            options = getattr(schema, f"{table}T")(**fields).Pack(builder)
            kind = int(getattr(schema.BuiltinOptions, table))
        inputs = self._vector(np.array(operator.inputs, np.int32))
        outputs = self._vector(np.array([operator.output], np.int32))
        schema.OperatorStart(builder)
        schema.OperatorAddOpcodeIndex(builder, code)
        schema.OperatorAddInputs(builder, inputs)
        schema.OperatorAddOutputs(builder, outputs)
        if options is not None:
            schema.OperatorAddBuiltinOptionsType(builder, kind)
            schema.OperatorAddBuiltinOptions(builder, options)
        return int(schema.OperatorEnd(builder))

    def _signature(self) -> int:
        builder, contents = self._builder, self._contents
        inputs, outputs = (
            self._offsets([self._tensor_map(*item) for item in ports.items()])
            for ports in (contents.inputs, contents.outputs)
        )
        key = self._string(SIGNATURE)
        schema.SignatureDefStart(builder)
        schema.SignatureDefAddInputs(builder, inputs)
        schema.SignatureDefAddOutputs(builder, outputs)
        schema.SignatureDefAddSignatureKey(builder, key)
        schema.SignatureDefAddSubgraphIndex(builder, 0)
        return int(schema.SignatureDefEnd(builder))

    def _tensor_map(self, name: str, tensor: int) -> int:
        text = self._string(name)
        schema.TensorMapStart(self._builder)
        schema.TensorMapAddName(self._builder, text)
        schema.TensorMapAddTensorIndex(self._builder, tensor)
        return int(schema.TensorMapEnd(self._builder))

    def _metadata(self) -> int:
        entries = []
        for name, text in self._contents.metadata.items():
            buffer, key = self._buffer(text.encode()), self._string(name)
            schema.MetadataStart(self._builder)
            schema.MetadataAddName(self._builder, key)
            schema.MetadataAddBuffer(self._builder, buffer)
            entries.append(int(schema.MetadataEnd(self._builder)))
        return self._offsets(entries)

    def _buffer(self, content: bytes) -> int:
        """The number of a buffer with this content."""
        digest = hashlib.sha256(content).digest()
        if digest not in self._buffer_of:
            self._buffer_of[digest] = len(self._buffers)
            data = _aligned_vector(self._builder, content) if content else None
            schema.BufferStart(self._builder)
            if data is not None:
                schema.BufferAddData(self._builder, data)
            self._buffers.append(int(schema.BufferEnd(self._builder)))
        return self._buffer_of[digest]

    def _vector(self, numbers: Array) -> int:
        key = (numbers.dtype.str, numbers.tobytes())
        if key not in self._shared:
            self._shared[key] = int(self._builder.CreateNumpyVector(numbers))
        return self._shared[key]

    def _string(self, text: str) -> int:
        return int(self._builder.CreateSharedString(text))

    def _offsets(self, offsets: Sequence[int]) -> int:
        builder = self._builder
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())


def with_shared_vectors(content: bytes) -> bytes:
    """A file that other tools wrote, with equal vectors stored once as ``file_content`` does."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    builder = _SharingBuilder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
    return bytes(builder.Output())


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Writes each vector of numbers once; bytes, which constants are, at their alignment."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: Array) -> int:  # noqa: N802  (flatbuffers' name)
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            is_content = x.dtype == np.uint8
            offset = _aligned_vector(self, key[1]) if is_content else super().CreateNumpyVector(x)
            self._written[key] = int(offset)
        return self._written[key]


def _aligned_vector(builder: Any, content: bytes) -> int:
    builder.StartVector(1, len(content), _DATA_ALIGNMENT)
    builder.head -= len(content)
    builder.Bytes[builder.head : builder.head + len(content)] = content
    return int(builder.EndVector())


def operator_counts(content: bytes) -> dict[str, int]:
    """How often each operator occurs in a file, by the schema's name or a custom operator's own."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
    codes = [
        code.customCode.decode() if code.customCode else names[code.builtinCode]
        for code in model.operatorCodes
    ]
    used = (codes[operator.opcodeIndex] for operator in model.subgraphs[0].operators)
    return dict(sorted(Counter(used).items()))


def port_names(content: bytes) -> tuple[list[str], list[str]]:
    """The tensors that are inputs and outputs of a file, in order."""
    (graph,) = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content)).subgraphs
    inputs, outputs = (
        [graph.tensors[tensor].name.decode() for tensor in ports]
        for ports in (graph.inputs, graph.outputs)
    )
    return inputs, outputs


def read_metadata(content: bytes) -> dict[str, str]:
    """The metadata of a file that ``file_content`` gave."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    return {
        entry.name.decode(): bytes(model.buffers[entry.buffer].data).decode()
        for entry in model.metadata or ()
    }
