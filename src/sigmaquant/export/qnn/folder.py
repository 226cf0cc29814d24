"""The files of an export for Qualcomm's converter, written whole or not at all."""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager
from pathlib import Path

from sigmaquant.export.folders import folder_written_atomically
from sigmaquant.export.onnx.graph import serialize
from sigmaquant.export.qnn.encodings import VERSIONS, encodings_file
from sigmaquant.export.qnn.model import Model

MODEL = "model.onnx"

_OWN_FILES = re.compile(r"model\.onnx|encodings-\d\.\d\.\d\.json")


def encodings_name(version: str) -> str:
    """The encodings file of one version of the schema."""
    return f"encodings-{version}.json"


def new_folder(path: str | Path) -> AbstractContextManager[Path]:
    """A temporary folder that takes the name ``path`` when the block succeeds.

    Raises:
        OutputError: the folder cannot be written, or holds files that no export wrote.
    """
    return folder_written_atomically(path, _OWN_FILES, "an export for Qualcomm's converter")


def write_files(model: Model, folder: Path) -> None:
    """Write the float graph and its encodings in both schemas into an existing folder."""
    (folder / MODEL).write_bytes(serialize(model.onnx))
    for version in VERSIONS:
        content = encodings_file(version, model.activations, model.parameters)
        text = json.dumps(content, indent=1)
        (folder / encodings_name(version)).write_text(f"{text}\n", encoding="utf-8")
