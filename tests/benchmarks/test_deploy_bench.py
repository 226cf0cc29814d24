"""One small network on real targets, with random data in place of the assets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("tflite_micro")
pytest.importorskip("onnxscript", reason="the extra 'bench' is not installed")

from benchmarks.deployment import bench as deployment_bench
from benchmarks.deployment.bench import DeployBench
from benchmarks.deployment.subjects import Subject
from benchmarks.deployment.targets import TARGETS
from benchmarks.measuring import TestData
from benchmarks.networks import NETWORKS
from benchmarks.results import BenchRow
from sigmaquant.calibration import Batch

BY_NAME = {target.name: target for target in TARGETS}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> DeployBench:
    """DS-CNN with random weights and samples."""
    torch.manual_seed(0)
    network = NETWORKS["dscnn"].build().eval()
    samples = torch.randn(24, *NETWORKS["dscnn"].input_shape)
    test = TestData(samples[:12].numpy(), np.arange(12), verified=4, batch=5)
    subject = Subject("dscnn", (Batch((samples[12:],)),), test, interpreted=3)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(deployment_bench, "load_network", lambda _: network)
        yield DeployBench(subject, tmp_path_factory.mktemp("deploy"), latency_rounds=1)


@pytest.fixture(scope="module")
def baseline(bench: DeployBench) -> BenchRow:
    return bench.float_row()


def test_a_subject_without_a_vendors_file_has_no_row_of_it(
    bench: DeployBench, baseline: BenchRow
) -> None:
    assert baseline.file_bytes > 90_000
    assert bench.vendor_row(baseline) is None


def test_a_target_without_narrow_weights_has_no_such_plan(bench: DeployBench) -> None:
    assert bench.mixed(BY_NAME["litert-fast"], 2.0) is None
    assert bench.within(BY_NAME["litert-fast"], 20_000) is None
    assert set(bench.int8.weight_bits.values()) == {8}


@pytest.mark.parametrize("name", ["onnxruntime", "litert-small", "tflm"])
def test_a_file_is_measured_beside_its_reference_and_the_int8_file(
    bench: DeployBench, baseline: BenchRow, name: str
) -> None:
    target = BY_NAME[name]
    plan = bench.mixed(target, 5.0)
    row = bench.target_row(target, "mixed 5.0", plan, baseline)
    assert row.variant == f"mixed 5.0 {name}"
    assert row.weight_bits_mean <= 5.0
    assert row.file_bytes <= 1.05 * row.flash_bytes + 24 * 1024
    assert row.samples == (3 if name == "tflm" else 12)
    assert abs(row.value - row.reference_value) <= (0 if name == "onnxruntime" else 40)
    assert row.latency_ratio_int8 > 0
    assert (row.ram_bytes is not None) == (name == "tflm")
    assert row.predicted_ram_bytes > 0
