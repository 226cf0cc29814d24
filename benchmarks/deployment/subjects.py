"""What is deployed: networks with their samples, and the int8 files that their makers publish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from ai_edge_litert.interpreter import Interpreter

from benchmarks import assets
from benchmarks.measuring import TestData
from benchmarks.networks import NETWORKS
from sigmaquant.calibration import Batch

Float32Array = npt.NDArray[np.float32]

KEYWORD_CALIBRATION = 256
"""Of kws01's 1,000 samples; there are no others, so the rest test."""
_KEYWORD_DRAW = 0  # seed
_CIFAR_CALIBRATION = 500  # first training images


@dataclass(frozen=True)
class VendorFile:
    """An int8 file of the network's makers.

    Attributes:
        path: the file.
        inputs: (n, *shape) float32 as the file stores it, channels last; same order as the tests.
    """

    path: Path
    inputs: Float32Array

    @property
    def file_bytes(self) -> int:
        """Its size."""
        return self.path.stat().st_size

    def outputs(self) -> Float32Array:
        """Its real-valued results for all inputs, in LiteRT: (n, ...)."""
        interpreter = Interpreter(str(self.path), num_threads=1)
        interpreter.allocate_tensors()
        (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
        scale, zero_point = source["quantization"]
        stored = np.clip(np.rint(self.inputs / np.float32(scale)) + zero_point, -128, 127)
        found = []
        for sample in stored.astype(np.int8):
            interpreter.set_tensor(source["index"], sample[np.newaxis])
            interpreter.invoke()
            found.append(interpreter.get_tensor(result["index"])[0])
        scale, zero_point = result["quantization"]
        stacked: Float32Array = np.stack(found).astype(np.float32)
        return (stacked - np.float32(zero_point)) * np.float32(scale)

    def top1_percent(self, labels: npt.NDArray[np.int64]) -> float:
        """Share of samples whose largest output is the label's, in LiteRT, in percent."""
        return 100 * float((self.outputs().argmax(1) == labels).mean())


@dataclass(frozen=True)
class Subject:
    """A network with its samples.

    Attributes:
        name: in the catalogue of networks.
        calibration: to score and round with.
        test: to report on.
        interpreted: so many test samples at most where a runtime takes long for each.
        vendor: the makers' int8 file, if there is one.
    """

    name: str
    calibration: tuple[Batch, ...]
    test: TestData
    interpreted: int
    vendor: VendorFile | None = None


def _cifar(name: str, tests: int | None, interpreted: int, vendor: str | None = None) -> Subject:
    prepare = NETWORKS[name].prepare
    known = assets.cifar10("train", _CIFAR_CALIBRATION)
    test = assets.cifar10("test", tests)
    file = None
    if vendor is not None:
        file = VendorFile(vendor_path(vendor), test.images.astype(np.float32))
    return Subject(
        name,
        _batches(prepare(known.images), 100),
        TestData(prepare(test.images).numpy(), test.labels),
        interpreted,
        file,
    )


def _resnet20(tests: int | None) -> Subject:
    return _cifar("resnet20", tests, 2_000)


def _resnet8(tests: int | None) -> Subject:
    return _cifar("resnet8", tests, 2_000, "pretrainedResnet_quant")


def _dscnn(tests: int | None) -> Subject:
    data = assets.mlperf_keywords()
    inputs = NETWORKS["dscnn"].prepare(data.features)
    known, rest = keyword_split()
    rest = rest[:tests]
    test = TestData(inputs[torch.from_numpy(rest)].numpy(), data.labels[rest])
    file = VendorFile(vendor_path("kws_ref_model"), test.inputs.transpose(0, 2, 3, 1))
    return Subject(
        "dscnn", _batches(inputs[torch.from_numpy(known)], 64), test, len(test.labels), file
    )


def keyword_split() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places in kws01 of the samples that calibrate, and of those that test."""
    order = np.random.default_rng(_KEYWORD_DRAW).permutation(len(assets.mlperf_keywords().labels))
    return order[:KEYWORD_CALIBRATION], np.sort(order[KEYWORD_CALIBRATION:])


def _mobilenetv2(tests: int | None) -> Subject:
    prepare = NETWORKS["mobilenetv2"].prepare
    known = assets.imagenet("mlperf_mobile_tiny300")
    test = assets.imagenet("sample1000", None if tests is None else range(tests))
    data = TestData(prepare(test.images).numpy(), test.labels, verified=8, batch=25)
    return Subject("mobilenetv2", _batches(prepare(known.images), 25), data, 100)


def _batches(inputs: torch.Tensor, size: int) -> tuple[Batch, ...]:
    return tuple(Batch((part,)) for part in inputs.split(size))


def vendor_path(name: str) -> Path:
    """The int8 file of MLPerf Tiny's makers with that name."""
    return assets.assets_folder() / "mlperf_tiny" / f"{name}.tflite"


SUBJECTS: dict[str, Callable[[int | None], Subject]] = {
    "resnet8": _resnet8,
    "dscnn": _dscnn,
    "resnet20": _resnet20,
    "mobilenetv2": _mobilenetv2,
}
"""Networks by name; each is loaded with so many of its first test samples, or all (None)."""
