"""Where files go: a format, and the runtime that widths are chosen for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sigmaquant.export.formats import FORMATS, FormatOptions, Runner
from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork
from sigmaquant.export.tflite.options import TfliteOptions

DEVICE = "cortex-m7"
"""Under every runtime: what counts here are bytes, and those do not depend on it."""


@dataclass(frozen=True)
class Target:
    """One way to deploy.

    Attributes:
        name: of the runtime, as ``--runtime`` takes it.
        file_format: as ``--format`` takes it.
        options: of the format.
        interprets: whether each sample takes long, because kernels are not made for this machine.
        timed_samples: samples of one timed call; several where the call starts a program.
    """

    name: str
    file_format: str
    options: FormatOptions = field(default_factory=FormatOptions)
    interprets: bool = False
    timed_samples: int = 1

    def file_name(self, variant: str) -> str:
        """The file of one variant."""
        return f"{self.name}_{re.sub('[ /]', '_', variant)}_{FORMATS[self.file_format].file}"

    def open(self, path: Path) -> Runner:
        """The file in its runtime, on one thread."""
        if self.file_format == "onnx":
            return OnnxRuntimeNetwork(path, threads=1)
        opened: Callable[[Path], Runner] = FORMATS[self.file_format].open
        return opened(path)


TARGETS = (
    Target("onnxruntime", "onnx"),
    Target("litert-small", "tflite", FormatOptions(tflite=TfliteOptions(variant="small"))),
    Target("litert-fast", "tflite", FormatOptions(tflite=TfliteOptions(variant="fast"))),
    Target("tflm", "tflm", interprets=True),
    Target("c", "c", interprets=True, timed_samples=16),
)
