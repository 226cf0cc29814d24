"""A network's files, measured beside its fp32 file: accuracy, size, time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.networks import NETWORKS, load_network
from benchmarks.onnx_files import interleaved_latency_ms, top1_percent, write_float_onnx
from benchmarks.results import BenchRow
from benchmarks.stopwatch import Stopwatch
from sigmaquant.costs import CostTable, cost_table
from sigmaquant.devices import load_profile
from sigmaquant.export import export_onnx
from sigmaquant.lowering import lower
from sigmaquant.network import Network
from sigmaquant.quantized import QuantizedNetwork

METRIC = "top1_percent"
DEVICE = "cortex-m7"  # stores every width 2..8 packed, so that flash is what the file holds
LATENCY_THREADS = 1

_LATENCY_BATCH = 32
_LEAST_ROUNDS = 30
_FLOAT_BITS, _FLOAT_BYTES = 32, 4


@dataclass(frozen=True)
class Candidate:
    """A quantized network to be exported and measured.

    Attributes:
        variant: the row's name.
        quantized: the network.
        seconds: of the stages that made it.
        coded: whether its file holds the weights in code.
    """

    variant: str
    quantized: QuantizedNetwork
    seconds: Mapping[str, float]
    coded: bool = False


@dataclass(frozen=True)
class TestData:
    """What accuracy is measured on.

    Attributes:
        inputs: (n, *input_shape), prepared for the network.
        labels: (n,).
        verified: so many samples are compared bit for bit with the integer reference.
        batch: samples a run of the runtime.
    """

    __test__ = False  # not a class of tests

    inputs: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    verified: int = 64
    batch: int = 500


class FileMeter:
    """Exports quantized networks and measures their files.

    Args:
        name: in the catalogue of networks.
        network: captured.
        load_data: gives the data to measure accuracy on; called when they are first needed.
        folder: for the files.
        latency_rounds: timed runs of each file, one sample a run.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        load_data: Callable[[], TestData],
        folder: Path,
        latency_rounds: int,
    ) -> None:
        self._name = name
        self._network = network
        self._load_data = load_data
        self._folder = folder
        self._latency_rounds = latency_rounds

    @functools.cached_property
    def _data(self) -> TestData:
        return self._load_data()

    @property
    def float_weight_bytes(self) -> int:
        """Size of the quantizable weights in fp32."""
        return self._network.table.weights * _FLOAT_BYTES

    @functools.cached_property
    def costs(self) -> CostTable:
        """What every choice takes on the device."""
        return cost_table(self._network.table, load_profile(DEVICE))

    @functools.cached_property
    def float_path(self) -> Path:
        """The fp32 network's file, written now unless an earlier run left it."""
        path = self._folder / "fp32.onnx"
        if not path.is_file():
            write_float_onnx(load_network(self._name), NETWORKS[self._name].input_shape, path)
        return path

    def float_row(self) -> BenchRow:
        """Measure the fp32 network's file."""
        watch = Stopwatch()
        with watch.stage("export"):
            path = self.float_path
        with watch.stage("evaluate"):
            value = self._top1_percent(path)
        (latency_ms,) = self._latency_ms([path], 1)
        table = self._network.table
        biases = sum(layer.channels for layer in table.layers)
        size = path.stat().st_size
        return BenchRow(
            network=self._name,
            variant="fp32",
            metric=METRIC,
            value=value,
            float_value=value,
            weight_bits_mean=_FLOAT_BITS,
            flash_bytes=(table.weights + biases + table.float_parameters) * _FLOAT_BYTES,
            file_bytes=size,
            float_file_bytes=size,
            latency_ratio_float=1.0,
            latency_ratio_float_batch32=1.0,
            seconds=watch.seconds,
            samples=len(self._data.labels),
            latency_ms=latency_ms,
            threads=LATENCY_THREADS,
        )

    def measured(self, candidate: Candidate, baseline: BenchRow) -> BenchRow:
        """Export, verify and measure a quantized network beside the fp32 network's file.

        Raises:
            VerificationError: the file does not compute what the integer reference computes.
        """
        watch = Stopwatch(candidate.seconds)
        path = self._folder / f"{file_stem(candidate.variant)}.onnx"
        with watch.stage("lower"):
            program = lower(candidate.quantized)
        with watch.stage("export"):
            (name,) = program.inputs
            export_onnx(program, path, {name: self._data.inputs[: self._data.verified]})
        with watch.stage("evaluate"):
            value = self._top1_percent(path)
        float_ms, latency_ms = self._latency_ms([self.float_path, path], 1)
        batch_float_ms, batch_ms = self._latency_ms([self.float_path, path], _LATENCY_BATCH)
        plan = candidate.quantized.plan
        return BenchRow(
            network=self._name,
            variant=candidate.variant,
            metric=METRIC,
            value=value,
            float_value=baseline.value,
            weight_bits_mean=plan.mean_weight_bits(self._network.table),
            flash_bytes=int(self.costs.totals(plan)["flash_bytes"]),
            file_bytes=path.stat().st_size,
            float_file_bytes=baseline.file_bytes,
            latency_ratio_float=latency_ms / float_ms,
            latency_ratio_float_batch32=batch_ms / batch_float_ms,
            seconds=watch.seconds,
            samples=len(self._data.labels),
            latency_ms=latency_ms,
            threads=LATENCY_THREADS,
            weight_bits=plan.weight_bits,
        )

    def _latency_ms(self, paths: list[Path], batch: int) -> list[float]:
        """Median time of a batch in each file; larger batches take fewer turns."""
        rounds = max(_LEAST_ROUNDS, self._latency_rounds // batch)
        return interleaved_latency_ms(paths, self._data.inputs[:batch], LATENCY_THREADS, rounds)

    def _top1_percent(self, path: Path) -> float:
        return top1_percent(path, self._data.inputs, self._data.labels, self._data.batch)


def file_stem(variant: str) -> str:
    """The name of a variant's file, without its ending."""
    return variant.replace(" + ", "_").replace(" ", "_").replace("/", "_of_")
