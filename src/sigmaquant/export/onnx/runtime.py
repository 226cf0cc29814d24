"""Runs an exported file in ONNX Runtime; the one module that imports onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.errors import ArtifactError, DataError, MissingExtraError

try:
    import onnxruntime
except ImportError as error:
    raise MissingExtraError("Running ONNX files", "onnx") from error

VERSION = f"onnxruntime {onnxruntime.__version__}"
_ERRORS_ONLY = 3

Array = npt.NDArray[Any]


class OnnxRuntimeNetwork:
    """A network in ONNX Runtime on the CPU: float32 in, float32 out.

    Args:
        model: a file, or a file's content.
        threads: threads inside an operator; None leaves it to the runtime (one a core).
        optimized: where to write the graph that the runtime really runs.

    Raises:
        ArtifactError: the runtime cannot load the model.
    """

    def __init__(
        self,
        model: str | Path | bytes,
        *,
        threads: int | None = None,
        optimized: Path | None = None,
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = threads or 0
        if optimized is not None:
            options.optimized_model_filepath = str(optimized)
        source = model if isinstance(model, bytes) else str(model)
        try:
            self._session = onnxruntime.InferenceSession(
                source, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors share no root but this
            where = "the model" if isinstance(model, bytes) else model
            raise ArtifactError(f"ONNX Runtime cannot load {where}: {error}") from error
        self.inputs = tuple(str(port.name) for port in self._session.get_inputs())
        self.outputs = tuple(str(port.name) for port in self._session.get_outputs())

    def run(self, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
        """All outputs by name for a batch of inputs by name: (batch, *shape), float32.

        Raises:
            DataError: the runtime rejects the inputs: a name or a shape does not fit.
        """
        arrays = {name: np.asarray(array, np.float32) for name, array in inputs.items()}
        try:
            outputs = self._session.run(self.outputs, arrays)
        except Exception as error:
            shapes = {name: array.shape for name, array in arrays.items()}
            raise DataError(f"ONNX Runtime cannot run on inputs {shapes}: {error}") from error
        return dict(zip(self.outputs, outputs, strict=True))

    def __call__(self, *inputs: npt.ArrayLike) -> tuple[Array, ...]:
        """All outputs in order for a batch of inputs in order."""
        return tuple(self.run(dict(zip(self.inputs, inputs, strict=True))).values())
