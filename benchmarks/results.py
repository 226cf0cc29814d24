"""What a benchmark leaves behind: ``benchmarks/results/NAME.json``, one row a measured variant.

The tables of ``docs/BENCHMARKS.md`` are made from these files alone (``tables.py``).
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import pydantic

from benchmarks.assets import PROJECT_ROOT
from sigmaquant.artifact import Frozen, written_atomically
from sigmaquant.errors import ArtifactError

RESULTS_FOLDER = PROJECT_ROOT / "benchmarks" / "results"

_MEASURED_WITH = ("torch", "numpy", "onnx", "onnxruntime", "sigmaquant-edge")


class Hardware(Frozen):
    """The machine that measured."""

    cpu: str
    cores: int
    ram_gib: float


class BenchRow(Frozen):
    """One variant of one network; ``None`` where a variant has no such figure.

    Attributes:
        network: name in the catalogue of networks.
        variant: such as "greedy 1/8".
        metric: what ``value`` is, with its unit, such as "top1_percent"; more is better, but of
            times less.
        value: measured on the exported file in the runtime, or by others on a board.
        float_value: the same of the fp32 network.
        weight_bits_mean: bits a weight, averaged over the weights.
        flash_bytes: packed weights, scales and biases.
        file_bytes: the exported file.
        float_file_bytes: the fp32 network's file.
        latency_ratio_float: time of one sample over the fp32 file's, interleaved in one run.
        latency_ratio_float_batch32: the same of batches of 32 samples.
        seconds: by stage.
        samples: number of samples behind ``value``.
        latency_ms: median time of one sample.
        threads: threads of the runtime behind the latency.
        weight_bits: width of each layer.
        peak_memory_bytes: of the process, until scores, search and rounding were done.
        tool: what chose the widths.
        rounding: whose quantizer applied them: "own", "our" or "nearest".
        budget_bits: bits a weight that the tool was allowed.
        draw: seed of the draw of the calibration samples.
        weight_bytes: packed weights alone.
        nll_nats: mean negative log-likelihood of the test labels.
        objective_gap: how far the plan's summed score lies above the least possible, as a share
            of that.
        predicted_ms: time on a device, by what its profile was calibrated with.
        reference_value: ``value`` of the integer reference on the same samples.
        latency_ratio_int8: time of one sample over that of the int8 file, interleaved in one run.
        ram_bytes: memory that the runtime plans for the network.
        predicted_ram_bytes: live activations and expanded weights, without any reserve.
        largest_difference: of an output from the integer reference.
        layer_cycles: by layer, counted on an emulated processor.
        predicted_layer_cycles: the same by the cost table.
        memory_reduction: the fp32 weights' bytes over ``flash_bytes``.
        cost_reductions: costs of 8 bits everywhere over the plan's, by device and cost.
    """

    network: str
    variant: str
    metric: str
    value: float
    float_value: float | None
    weight_bits_mean: float | None = None
    flash_bytes: int | None = None
    file_bytes: int | None = None
    float_file_bytes: int | None = None
    latency_ratio_float: float | None = None
    latency_ratio_float_batch32: float | None = None
    seconds: dict[str, float]
    samples: int
    latency_ms: float | None = None
    threads: int | None = None
    weight_bits: dict[str, int] | None = None
    peak_memory_bytes: int | None = None
    tool: str | None = None
    rounding: str | None = None
    budget_bits: float | None = None
    draw: int | None = None
    weight_bytes: int | None = None
    nll_nats: float | None = None
    objective_gap: float | None = None
    predicted_ms: dict[str, float] | None = None
    reference_value: float | None = None
    latency_ratio_int8: float | None = None
    ram_bytes: int | None = None
    predicted_ram_bytes: int | None = None
    largest_difference: float | None = None
    layer_cycles: dict[str, int] | None = None
    predicted_layer_cycles: dict[str, float] | None = None
    memory_reduction: float | None = None
    cost_reductions: dict[str, float] | None = None

    @property
    def against_float(self) -> float | None:
        """How much more ``value`` is than the fp32 network's."""
        return None if self.float_value is None else self.value - self.float_value


class BenchResult(Frozen):
    """All rows of one benchmark, and what is needed to make them again.

    Attributes:
        bench: its name, also the file's.
        command: what makes it.
        date: of the last row, ISO.
        versions: of Python and of the packages that measured.
        hardware: the machine.
        seed: of every random draw.
        rows: in order of measurement.
    """

    bench: str
    command: str
    date: str
    versions: dict[str, str]
    hardware: Hardware
    seed: int
    rows: tuple[BenchRow, ...] = ()

    @classmethod
    def begin(cls, bench: str, command: str, seed: int, measured_with: Sequence[str] = ()) -> Self:
        """A result without rows, on this machine, today; ``measured_with`` are further packages."""
        return cls(
            bench=bench,
            command=command,
            date=_today(),
            versions=installed_versions(measured_with),
            hardware=this_machine(),
            seed=seed,
        )

    def with_row(self, row: BenchRow) -> Self:
        """A copy with one more row."""
        return self.model_copy(update={"rows": (*self.rows, row), "date": _today()})

    def row(self, network: str, variant: str) -> BenchRow | None:
        """The row of that variant, if it was measured."""
        for row in self.rows:
            if (row.network, row.variant) == (network, variant):
                return row
        return None

    def comparable(self, other: BenchResult) -> bool:
        """Whether rows of both may stand in one table: same command, versions, machine, seed."""
        ignored = {"rows", "date"}
        return self.model_dump(exclude=ignored) == other.model_dump(exclude=ignored)

    def save(self, folder: Path) -> Path:
        """Write ``folder/BENCH.json``, whole or not at all; return its path.

        Raises:
            OutputError: the folder cannot be written.
        """
        path = folder / f"{self.bench}.json"
        with written_atomically(path) as temporary:
            temporary.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a result back.

        Raises:
            ArtifactError: missing or damaged, or its name is not its bench.
        """
        try:
            result = cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, pydantic.ValidationError) as error:
            raise ArtifactError(f"{path} is not a benchmark result: {error}") from error
        if result.bench != path.stem:
            raise ArtifactError(f"{path} holds the benchmark {result.bench!r}; rename it")
        return result


def all_results(folder: Path = RESULTS_FOLDER) -> Iterator[BenchResult]:
    """Every result in the folder, by name."""
    yield from (BenchResult.load(path) for path in sorted(folder.glob("*.json")))


def installed_versions(further: Sequence[str] = ()) -> dict[str, str]:
    """Versions of Python and of the packages whose speed or numerics show in results."""
    versions = {name: importlib.metadata.version(name) for name in (*_MEASURED_WITH, *further)}
    return {"python": platform.python_version(), **versions}


def this_machine() -> Hardware:
    """CPU model, usable cores and RAM of this machine."""
    ram_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Hardware(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        ram_gib=round(ram_bytes / 1024**3, 1),
    )


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            key, _, model = line.partition(":")
            if key.strip() == "model name":
                return model.strip()
    return platform.processor() or platform.machine()


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
