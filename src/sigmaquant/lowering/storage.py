"""An integer program on disk: one safetensors file.

Arrays are tensors of the file. All else is one JSON entry of its header, with the schema version
and a SHA-256 of the content: safetensors itself would not notice a changed weight.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy
import torch

from sigmaquant.artifact import written_atomically
from sigmaquant.errors import ArtifactError, UnsupportedError
from sigmaquant.lowering.program import (
    Add,
    Argument,
    AveragePool,
    BatchSize,
    Clamp,
    Concat,
    Convolution,
    Dequantize,
    Encoding,
    FloatOperator,
    GlobalAverage,
    IntegerProgram,
    Linear,
    Lookup,
    MatMul,
    MaxPool,
    Operator,
    Pad,
    Permute,
    Quantize,
    Reshape,
    Slice,
    Value,
    Weights,
)

SCHEMA = 1
_ENTRY = "sigmaquant.IntegerProgram"
_OPERATORS: dict[str, type[Operator]] = {
    kind.__name__: kind
    for kind in (
        Quantize,
        Dequantize,
        Convolution,
        Linear,
        MatMul,
        Add,
        GlobalAverage,
        AveragePool,
        Lookup,
        MaxPool,
        Clamp,
        Pad,
        Concat,
        Reshape,
        Permute,
        Slice,
        FloatOperator,
    )
}

Array = npt.NDArray[Any]


def save_program(program: IntegerProgram, path: str | Path) -> None:
    """Write the program; the file appears whole or not at all.

    Sequences inside a float operator's arguments come back as tuples.

    Raises:
        OutputError: the folder cannot be written.
        UnsupportedError: a float operator has an argument that a file cannot hold.
    """
    tensors: dict[str, Array] = {}
    content = json.dumps(_program_to_json(program, tensors))
    header = {"schema_version": SCHEMA, "sha256": _digest(content, tensors), "content": content}
    with written_atomically(path) as temporary:
        safetensors.numpy.save_file(tensors, temporary, {_ENTRY: json.dumps(header)})


def load_program(path: str | Path) -> IntegerProgram:
    """Read a program back.

    Raises:
        ArtifactError: missing, damaged, not an integer program, or of another schema version.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            entry = (file.metadata() or {}).get(_ENTRY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise ArtifactError(f"{path}: cannot read the integer program: {error}") from error
    if entry is None:
        raise ArtifactError(f"{path} is a safetensors file, but not an integer program")
    content = _checked_content(str(path), entry, tensors)
    return _program_from_json(json.loads(content), tensors)


def _checked_content(path: str, entry: str, tensors: Mapping[str, Array]) -> str:
    """The header's content, once its version and digest have been found right."""
    try:
        header = json.loads(entry)
        version, digest, content = header["schema_version"], header["sha256"], header["content"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: the integer program's header is damaged: {error}") from error
    if version != SCHEMA:
        raise ArtifactError(
            f"{path}: integer program of schema {version}, this version reads schema {SCHEMA}; "
            f"run the stage again"
        )
    if digest != _digest(content, tensors):
        raise ArtifactError(f"{path}: the integer program is damaged: its digest does not match")
    return str(content)


def _digest(content: str, tensors: Mapping[str, Array]) -> str:
    digest = hashlib.sha256(content.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _program_to_json(program: IntegerProgram, tensors: dict[str, Array]) -> dict[str, Any]:
    """Plain JSON; arrays go to ``tensors`` and leave their name."""
    return {
        "network": program.network,
        "values": [dataclasses.asdict(value) for value in program.values.values()],
        "weights": [_fields_to_json(weights, tensors) for weights in program.weights],
        "operators": [
            {"kind": type(operator).__name__, **_fields_to_json(operator, tensors)}
            for operator in program.operators
        ],
        "inputs": program.inputs,
        "outputs": program.outputs,
    }


def _fields_to_json(record: Operator | Weights, tensors: dict[str, Array]) -> dict[str, Any]:
    return {
        field.name: _to_json(getattr(record, field.name), tensors)
        for field in dataclasses.fields(record)
    }


def _to_json(item: Any, tensors: dict[str, Array]) -> Any:
    match item:
        case np.ndarray():
            name = f"t{len(tensors)}"
            tensors[name] = np.ascontiguousarray(item).reshape(item.shape)
            return {"tensor": name}
        case Weights():
            return {"weights": item.layer}
        case Argument(index):
            return {"argument": index}
        case BatchSize():
            return {"batch_size": True}
        case torch.dtype() | torch.layout() | torch.memory_format():
            return {"torch": str(item).removeprefix("torch.")}
        case list() | tuple():
            return [_to_json(part, tensors) for part in item]
        case dict():
            return {"map": {key: _to_json(part, tensors) for key, part in item.items()}}
        case None | bool() | int() | float() | str():
            return item
    raise UnsupportedError(f"an integer program cannot store {item!r} ({type(item).__name__})")


def _program_from_json(content: dict[str, Any], tensors: Mapping[str, Array]) -> IntegerProgram:
    values = [_value_from_json(fields) for fields in content["values"]]
    weights: dict[str, Weights] = {}
    for fields in content["weights"]:
        weights[fields["layer"]] = Weights(**_fields_from_json(fields, tensors, {}))
    operators = []
    for fields in content["operators"]:
        kind = _OPERATORS[fields.pop("kind")]
        operators.append(kind(**_fields_from_json(fields, tensors, weights)))
    return IntegerProgram(
        network=content["network"],
        values={value.name: value for value in values},
        operators=tuple(operators),
        inputs=tuple(content["inputs"]),
        outputs=tuple(content["outputs"]),
    )


def _value_from_json(fields: dict[str, Any]) -> Value:
    encoding = fields["encoding"]
    return Value(fields["name"], tuple(fields["shape"]), encoding and Encoding(**encoding))


def _fields_from_json(
    fields: dict[str, Any], tensors: Mapping[str, Array], weights: Mapping[str, Weights]
) -> dict[str, Any]:
    return {key: _from_json(item, tensors, weights) for key, item in fields.items()}


def _from_json(item: Any, tensors: Mapping[str, Array], weights: Mapping[str, Weights]) -> Any:
    match item:
        case {"tensor": name}:
            return tensors[name]
        case {"weights": layer}:
            return weights[layer]
        case {"argument": index}:
            return Argument(index)
        case {"batch_size": _}:
            return BatchSize()
        case {"torch": name}:
            return getattr(torch, name)
        case {"map": entries}:
            return _fields_from_json(entries, tensors, weights)
        case list():
            return tuple(_from_json(part, tensors, weights) for part in item)
    return item
