from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from benchmarks.onnx_files import interleaved_latency_ms, top1_percent, write_float_onnx

pytest.importorskip("onnxscript", reason="the extra 'bench' is not installed")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def path(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("onnx") / "float.onnx"
    write_float_onnx(model, (3, 8, 8), target)
    return target


def test_the_float_file_has_its_batch_norm_folded_and_no_notes(path: Path) -> None:
    nodes = onnx.load(path).graph.node
    assert {node.op_type for node in nodes}.isdisjoint({"BatchNormalization"})
    assert not any(node.metadata_props for node in nodes)


def test_accuracy_is_that_of_the_network(model: nn.Module, path: Path) -> None:
    inputs = torch.randn(601, 3, 8, 8)
    labels = model(inputs).argmax(1).numpy()
    labels[:300] = (labels[:300] + 1) % 5
    percent = top1_percent(path, inputs.numpy(), labels, batch=500)
    assert percent == pytest.approx(100 * 301 / 601, abs=0.2)


def test_files_are_timed_in_turns(path: Path) -> None:
    sample = np.zeros((1, 3, 8, 8), np.float32)
    first, second = interleaved_latency_ms([path, path], sample, threads=1, rounds=30)
    assert 0 < first < 1000
    assert 0 < second < 1000
