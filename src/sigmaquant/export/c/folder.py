"""The files of an exported library, written whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.errors import ArtifactError
from sigmaquant.export.c.literals import float32, vector
from sigmaquant.export.c.manifest import Manifest, Port
from sigmaquant.export.c.model import MARK, Model
from sigmaquant.export.folders import folder_written_atomically

CHECKED_SAMPLES = 2
"""Samples that the check program holds; more would only cost flash."""

_OWN_FILES = re.compile(
    r"(model|check|check_vectors|kernels/sq_\w+)\.[cho]|model\.json|Makefile|CMakeLists\.txt"
    r"|libmodel\.a|model_check"
)
"""What an export writes, and what its Makefile builds."""
_VALUES = "sq_values.h"
_HEADERS = re.compile(r'#include "(sq_\w+\.h)"')

Arrays = Mapping[str, npt.NDArray[Any]]


def new_folder(path: str | Path) -> AbstractContextManager[Path]:
    """A temporary folder that takes the name ``path`` when the block succeeds.

    Raises:
        OutputError: the folder cannot be written, or holds files that no export wrote.
    """
    return folder_written_atomically(path, _OWN_FILES, "a C library")


def write_files(model: Model, folder: Path, inputs: Arrays, outputs: Arrays) -> None:
    """Write a library's files into an existing folder.

    Args:
        model: the network as C text.
        folder: where to.
        inputs: (batch, *shape) float32 for each input of the network.
        outputs: what the reference computes from them.
    """
    model.manifest.save(folder / "model.json")
    (folder / "model.h").write_text(model.header, encoding="utf-8")
    (folder / "model.c").write_text(model.source, encoding="utf-8")
    vectors = _check_vectors(model.manifest, inputs, outputs)
    (folder / "check_vectors.h").write_text(vectors, encoding="utf-8")
    for name in ("CMakeLists.txt", "Makefile", "check.c"):
        _write_resource(folder / name, "project", name)
    kernels = folder / "kernels"
    kernels.mkdir()
    for source in model.sources:
        _write_resource(kernels / f"{source}.c", "kernels", f"{source}.c")
    for kind, bits in model.widths:
        text = f'#define SQ_BITS {bits}\n#include "sq_{kind}_template.h"\n'
        (kernels / f"sq_{kind}_w{bits}.c").write_text(text, encoding="utf-8")
    _write_headers(kernels)
    if not model.packs_values:
        text = resource("kernels", _VALUES)
        (kernels / _VALUES).write_text(f"#define SQ_PACKED_VALUES 0\n{text}", encoding="utf-8")


def _write_resource(target: Path, kind: str, name: str) -> None:
    target.write_bytes(resource(kind, name).encode())


def resource(kind: str, name: str) -> str:
    """The text of a file of this package: a kernel, or a file of the project around them."""
    return resources.files("sigmaquant.export.c").joinpath(kind, name).read_text(encoding="utf-8")


def _write_headers(kernels: Path) -> None:
    """Add the headers that the kernels include, and those that they include."""
    wanted = {"sq_kernels.h"}
    for file in kernels.iterdir():
        wanted.update(_HEADERS.findall(file.read_text(encoding="utf-8")))
    while wanted:
        name = wanted.pop()
        text = resource("kernels", name)
        (kernels / name).write_text(text, encoding="utf-8")
        wanted.update(n for n in _HEADERS.findall(text) if not (kernels / n).exists())


def _check_vectors(manifest: Manifest, inputs: Arrays, outputs: Arrays) -> str:
    """Samples as the bits of float32, because text could round."""
    given = flat_samples(inputs, [port.name for port in manifest.inputs])[:CHECKED_SAMPLES]
    wanted = flat_samples(outputs, [port.name for port in manifest.outputs])[:CHECKED_SAMPLES]
    arguments = []
    for kind, ports in (("inputs", manifest.inputs), ("outputs", manifest.outputs)):
        start = 0
        for port in ports:
            arguments.append(f"({kind}) + {start}")
            start += port.floats
    return "\n".join(
        [
            f"{MARK}. */",
            "#include <stdint.h>",
            "",
            '#include "model.h"',
            "",
            f"#define CHECK_TOLERANCE {float32(manifest.tolerance)}",
            f"#define CHECK_SAMPLES {len(given)}",
            f"#define CHECK_INPUT_FLOATS {given.shape[1]}",
            f"#define CHECK_OUTPUT_FLOATS {wanted.shape[1]}",
            f"#define CHECK_RUN(inputs, outputs) model_run({', '.join(arguments)})",
            "",
            _bits("inputs", "INPUT", given),
            _bits("outputs", "OUTPUT", wanted),
            "",
        ]
    )


def _bits(name: str, size: str, samples: npt.NDArray[np.float32]) -> str:
    rows = ",\n".join(vector(f"{bits:#x}" for bits in row) for row in samples.view(np.uint32))  # type: ignore[misc]
    return (
        f"static const uint32_t check_{name}[CHECK_SAMPLES][CHECK_{size}_FLOATS] = {{\n{rows}\n}};"
    )


def flat_samples(arrays: Arrays, names: list[str]) -> npt.NDArray[np.float32]:
    """(batch, all values of a sample) in the order of the names."""
    flat = [np.asarray(arrays[name], np.float32).reshape(len(arrays[name]), -1) for name in names]
    return np.ascontiguousarray(np.concatenate(flat, axis=1))


def named_samples(
    flat: npt.NDArray[np.float32], ports: Sequence[Port]
) -> dict[str, npt.NDArray[np.float32]]:
    """(batch, all values of a sample) as (batch, *shape) for each port, by name."""
    ends = np.cumsum([port.floats for port in ports])[:-1]
    parts = np.split(flat, ends, axis=1)
    return {
        port.name: np.ascontiguousarray(part).reshape(len(part), *port.shape)
        for port, part in zip(ports, parts, strict=True)
    }


def read_check_vectors(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The samples that a library brings with it, and what the reference computes from them.

    Raises:
        ArtifactError: the folder holds no exported library.
    """
    manifest = Manifest.load(folder / "model.json")
    try:
        text = (folder / "check_vectors.h").read_text(encoding="utf-8")
        inputs = named_samples(_numbers(text, "inputs"), manifest.inputs)
        return inputs, named_samples(_numbers(text, "outputs"), manifest.outputs)
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{folder} lacks the vectors of an exported library: {error}"
        ) from error


def _numbers(text: str, name: str) -> npt.NDArray[np.float32]:
    """The samples of ``_bits``: (samples, floats)."""
    _, _, table = text.partition(f"check_{name}[")
    rows = [re.findall(r"0x[0-9a-f]+", row) for row in table.partition("};")[0].splitlines()]
    bits = np.array([[int(number, 16) for number in row] for row in rows if row], np.uint32)
    return bits.view(np.float32)
