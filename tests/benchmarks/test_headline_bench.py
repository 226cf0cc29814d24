"""One small network on the headline's road, with random data in place of the assets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("onnxscript", reason="the extra 'bench' is not installed")

from benchmarks.digest.augmentation import reused_loader
from benchmarks.digest.bench import HeadlineBench
from benchmarks.digest.reductions import COSTS, DEVICES, Reductions
from benchmarks.digest.subjects import TOP1, Subject, Test, Training
from benchmarks.networks import NETWORKS
from benchmarks.results import BenchRow
from sigmaquant.bitplan import BitPlan
from sigmaquant.calibration import Batch


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> HeadlineBench:
    """DS-CNN with random weights; its own classes are the labels."""
    torch.manual_seed(0)
    entry = NETWORKS["dscnn"]
    module = entry.build().eval()
    samples = torch.randn(72, *entry.input_shape)
    with torch.no_grad():
        labels = module(samples).argmax(1)[:40].numpy()

    def agreement(outputs: np.ndarray) -> float:
        return 100 * float((outputs.argmax(1) == labels).mean())

    subject = Subject(
        "dscnn",
        module,
        entry.input_shape,
        (Batch((samples[40:],)),),
        Test(samples[:40].numpy(), TOP1, agreement, batch=15, verified=4),
        Training(lambda: [samples[40:]], epochs=1),
        reductions=(6,),
        trained=(6,),
    )
    return HeadlineBench(subject, tmp_path_factory.mktemp("headline"))


@pytest.fixture(scope="module")
def baseline(bench: HeadlineBench) -> BenchRow:
    return bench.float_row()


def test_the_float_network_is_measured_in_its_file(baseline: BenchRow) -> None:
    assert baseline.value == 100
    assert baseline.flash_bytes == 4 * 22_016
    assert baseline.file_bytes > baseline.flash_bytes


def test_a_plan_keeps_to_its_part_of_the_weights(bench: HeadlineBench, baseline: BenchRow) -> None:
    start = bench.mixed("mixed 1/6", 6)
    for candidate in (start, bench.trained("trained", start)):
        row = bench.measured(candidate, baseline)
        assert row.flash_bytes <= 4 * 22_016 / 6
        assert 6 <= row.memory_reduction < 6.2
        assert row.float_value == 100
        assert {"score", "search", "quantize", "evaluate"} <= set(row.seconds)
        assert set(row.cost_reductions) == {f"{d} {c}" for d in DEVICES for c in COSTS}
    assert row.variant == "trained"
    assert row.seconds["finetune"] > 0


def test_a_plan_in_code_keeps_to_its_part_of_the_weights(
    bench: HeadlineBench, baseline: BenchRow, tmp_path: Path
) -> None:
    in_code = HeadlineBench(bench.subject, tmp_path, "coded")
    candidate = in_code.coded("mixed 1/6 coded", 6)
    assert candidate.coded
    row = in_code.measured(candidate, baseline)
    assert 0.9 * 4 * 22_016 / 6 < row.flash_bytes <= 4 * 22_016 / 6


def test_beside_a_makers_file_the_whole_file_takes_half_of_it_at_most(
    bench: HeadlineBench, baseline: BenchRow, tmp_path: Path
) -> None:
    makers: Any = SimpleNamespace(file_bytes=46_000)
    subject = replace(bench.subject, vendor=makers)
    in_code = HeadlineBench(subject, tmp_path, "coded")
    # The graph takes kilobytes beside a fourth of the weights: the first plan cannot fit.
    row = in_code.measured(in_code.coded("mixed 1/4 coded", 4), baseline)
    assert row.file_bytes is not None
    assert 0.9 * 23_000 < row.file_bytes <= 23_000


def test_eight_bits_take_what_eight_bits_take(bench: HeadlineBench) -> None:
    table = bench.network.table
    found = Reductions(table).of(BitPlan.uniform(table, 8))
    assert set(found.values()) == {1.0}


def test_a_network_without_a_makers_file_has_no_row_of_it(
    bench: HeadlineBench, baseline: BenchRow
) -> None:
    assert bench.vendor_row(baseline) is None


def test_the_loader_draws_other_parts_in_each_pass() -> None:
    images = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).reshape(2, 3, 8, 8)
    torch.manual_seed(0)
    (batch,) = reused_loader(images, passes=3, batch_size=6)
    assert batch.shape == (6, 3, 8, 8)
    assert len({tuple(image.flatten().tolist()) for image in batch}) == 6
    assert batch.min() >= images.min()
    assert batch.max() <= images.max()
    torch.manual_seed(0)
    torch.testing.assert_close(next(iter(reused_loader(images, 3, 6))), batch)
