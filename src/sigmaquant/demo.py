"""``sigmaquant demo``: everything once, on a small network, in two minutes.

The budgets are chosen so that no width used everywhere is an answer: four bits are too large,
three too slow (on a Cortex-M4 they cost more to unpack than they save), and two lose accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import Budget
from sigmaquant.calibration import Batch, read_batches
from sigmaquant.costs import CostTable, cost_table
from sigmaquant.demo_network import BATCH_SIZE, load_digits, train
from sigmaquant.devices import load_profile
from sigmaquant.evaluation import exported_run
from sigmaquant.metrics import evaluate
from sigmaquant.network import Network, capture
from sigmaquant.pipeline import Result, optimize
from sigmaquant.progress import progress_bar
from sigmaquant.quantized import quantize
from sigmaquant.report.model import Quality, QualityMetric
from sigmaquant.stages import export

DEVICE = "cortex-m4"
BUDGET = Budget(flash="32 KiB", ram="24 KiB", latency="55 ms")
UNIFORM_BITS = (8, 4, 3, 2)
EPOCHS = 3
_METRICS: tuple[QualityMetric, ...] = ("accuracy", "loss")


@dataclass(frozen=True)
class DemoRow:
    """One variant of the network.

    Attributes:
        name: such as "uniform 4".
        accuracy: on the test images; in ONNX Runtime, except for the float network.
        loss: cross entropy there.
        file_bytes: size of the exported file; None for the float network, which is not exported.
        totals: costs on the device by metric; None for the float network.
        broken: metrics whose budget is exceeded.
    """

    name: str
    accuracy: float
    loss: float
    file_bytes: int | None
    totals: dict[str, float] | None
    broken: tuple[str, ...]


@dataclass(frozen=True)
class Demo:
    """What the demo shows.

    Attributes:
        rows: the float network, uniform plans, and the answer.
        result: of the whole run.
        folder: where its files are.
    """

    rows: tuple[DemoRow, ...]
    result: Result
    folder: Path


def run_demo(out: str | Path, *, seed: int = 0, epochs: int = EPOCHS) -> Demo:
    """Train, optimize for a Cortex-M4, and compare with uniform plans.

    Args:
        out: folder for the results.
        seed: of every random draw.
        epochs: of fine-tuning.

    Raises:
        MissingExtraError: scikit-learn or ONNX Runtime is not installed.
        OutputError: the folder cannot be written.
    """
    with _one_thread():
        return _run(Path(out), seed, epochs)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch on one core: on a network so small threads cost more than they give."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _run(out: Path, seed: int, epochs: int) -> Demo:
    digits = load_digits(seed)
    network = capture(train(digits.training, seed), digits.calibration.tensors[0][:BATCH_SIZE])
    calibration = DataLoader(digits.calibration, BATCH_SIZE)
    test = DataLoader(digits.test, BATCH_SIZE)
    result = optimize(
        network,
        calibration=calibration,
        device=DEVICE,
        budget=BUDGET,
        train=DataLoader(digits.training, BATCH_SIZE, shuffle=True),
        evaluation=test,
        out=out,
        epochs=epochs,
        seed=seed,
    )
    uniform = _uniform_rows(
        network,
        read_batches(calibration, network),
        read_batches(test, network),
        out / "uniform",
    )
    rows = (_float_row(result), *uniform, _own_row(result, network))
    return Demo(rows=rows, result=result, folder=out)


def _uniform_rows(
    network: Network, calibration: tuple[Batch, ...], test: tuple[Batch, ...], folder: Path
) -> Iterator[DemoRow]:
    costs = cost_table(network.table, load_profile(DEVICE))
    with progress_bar("uniform plans", len(UNIFORM_BITS)) as advance:
        for bits in UNIFORM_BITS:
            plan = BitPlan.uniform(network.table, bits)
            file = folder / f"uniform{bits}.onnx"
            verification = export(quantize(network, plan, calibration), file, samples=test)
            run = exported_run(file, "onnx")
            quality = evaluate(run, test), evaluate(run, test, "loss")
            yield _row(plan.origin, plan, quality, verification.file_bytes, costs)
            advance()


def _float_row(result: Result) -> DemoRow:
    accuracy, loss = (_value(result.report.quality_at("float", m)) for m in _METRICS)
    return DemoRow("float", accuracy, loss, None, None, ())


def _own_row(result: Result, network: Network) -> DemoRow:
    costs = cost_table(network.table, load_profile(DEVICE))
    accuracy, loss = (_value(result.report.final_quality(m)) for m in _METRICS)
    file_bytes = result.report.exports[0].file_bytes
    return _row("mixed", result.plan, (accuracy, loss), file_bytes, costs)


def _value(quality: Quality | None) -> float:
    assert quality is not None, "the test images have labels"
    return quality.value


def _row(
    name: str, plan: BitPlan, quality: tuple[float, float], file_bytes: int, costs: CostTable
) -> DemoRow:
    totals = costs.totals(plan)
    broken = tuple(m for m, limit in BUDGET.limits().items() if totals[m] > limit)
    return DemoRow(name, *quality, file_bytes, totals, broken)
