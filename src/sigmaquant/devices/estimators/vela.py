"""Arm's Vela for Ethos-U: run on a TensorFlow Lite file, its reports read back."""

from __future__ import annotations

import csv
import difflib
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from sigmaquant.devices.estimators.protocol import Estimate, OperatorEstimate, PlannedNetwork
from sigmaquant.errors import DeviceError, MissingExtraError, UnsupportedError

_TARGETS = ("ethos-u55-128", "ethos-u55-32", "ethos-u55-64", "ethos-u55-256")
_LONGEST_S = 600
_BYTES_PER_KIB = 1024  # the reports give memory in KiB


class Vela:
    """Vela's performance estimation, with its default system around the chip."""

    def targets(self) -> tuple[str, ...]:
        """Accelerator configurations."""
        return _TARGETS

    def estimate(
        self, model: Path | PlannedNetwork, target: str, mhz: float | None = None
    ) -> Estimate:
        """As ``Estimator.estimate``; the model is a ``.tflite`` file, and Vela knows the clock."""
        if isinstance(model, PlannedNetwork):
            raise UnsupportedError("Vela reads exported .tflite files, no networks")
        if target not in _TARGETS:
            near = difflib.get_close_matches(target, _TARGETS, n=1, cutoff=0.0)
            raise DeviceError(f"Vela knows no {target!r}; did you mean {near[0]!r}?")
        if not model.is_file():
            raise UnsupportedError(f"{model}: there is no such file; Vela reads .tflite files")
        if importlib.util.find_spec("ethosu") is None:
            raise MissingExtraError("an estimate for Ethos-U", "vela")
        with tempfile.TemporaryDirectory() as folder:
            _run(model, target, Path(folder))
            return read_reports(Path(folder), target)


def read_reports(folder: Path, target: str) -> Estimate:
    """What Vela left in its output folder.

    Raises:
        UnsupportedError: no reports, or of another form than Vela 5's.
    """
    try:
        (summary,) = _rows(next(folder.glob("*_summary_*.csv")))
        layers = _rows(next(folder.glob("*_per-layer.csv")))
        ms_per_cycle = 1e3 / float(summary["core_clock"])
        return Estimate(
            tool="Vela",
            target=target,
            latency_ms=1e3 * float(summary["inference_time"]),
            flash_bytes=_memory(summary, "off_chip_flash"),
            ram_bytes=_memory(summary, "sram"),
            operators=tuple(
                OperatorEstimate(
                    name=row["Name"],
                    operator=row["Original Operator"],
                    latency_ms=float(row["Op Cycles"]) * ms_per_cycle,
                )
                for row in layers
            ),
        )
    except (StopIteration, KeyError, ValueError) as error:
        raise UnsupportedError(f"Vela's reports are not those of version 5: {error!r}") from error


def _run(model: Path, target: str, folder: Path) -> None:
    command = [sys.executable, "-m", "ethosu.vela", str(model), "--accelerator-config", target]
    command += ["--output-dir", str(folder), "--verbose-performance"]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=_LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UnsupportedError(f"{model}: Vela has not ended after {_LONGEST_S} s") from error
    if ended.returncode != 0:
        said = (ended.stderr or ended.stdout).strip().splitlines() or ["nothing"]
        raise UnsupportedError(f"{model}: Vela failed; it said: {said[-1]}")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _memory(summary: dict[str, str], name: str) -> int:
    return round(float(summary[f"{name}_memory_used"]) * _BYTES_PER_KIB)
