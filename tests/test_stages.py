"""What a search adds for its device, and an export for its check."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sigmaquant as sq
from sigmaquant.calibration import read_batches
from sigmaquant.errors import ConfigError, DataError, OutputError
from sigmaquant.lowering import lower
from sigmaquant.stages import limited_by_memory, random_inputs, real_inputs, rounding_for


@pytest.mark.parametrize(
    ("asked", "limits"),
    [
        ({}, {"flash_bytes": 2_084_864, "peak_ram_bytes": 655_360}),
        ({"flash": "1 KiB"}, {"flash_bytes": 1024, "peak_ram_bytes": 655_360}),
        ({"flash": "8 MiB", "ram": 500}, {"flash_bytes": 2_084_864, "peak_ram_bytes": 500}),
        ({"latency": "1 ms"}, {"latency_ms": 1.0}),
    ],
)
def test_the_smaller_of_budget_and_memory_counts(
    asked: dict[str, str], limits: dict[str, float]
) -> None:
    found = limited_by_memory(sq.Budget(**asked), sq.load_profile("cortex-m4")).limits()
    assert found.items() >= limits.items()


def test_unknown_memory_is_no_limit() -> None:
    assert limited_by_memory(sq.Budget(), sq.load_profile("shift-add")).limits() == {}


@pytest.mark.parametrize(
    ("runtime", "asked", "rounding"),
    [
        (None, None, "compensated"),
        (None, "nearest", "nearest"),
        (None, "coded", "coded"),
        ("onnxruntime", None, "compensated"),
        ("onnxruntime-coded", None, "coded"),
        ("onnxruntime-coded", "coded", "coded"),
    ],
)
def test_weights_are_rounded_for_code_where_they_are_stored_in_code(
    runtime: str | None, asked: str | None, rounding: str
) -> None:
    assert rounding_for(sq.load_profile("cortex-m4", runtime), asked) == rounding


def test_another_rounding_than_the_codes_is_refused() -> None:
    profile = sq.load_profile("cortex-m4", "onnxruntime-coded")
    with pytest.raises(ConfigError, match="in rounding 'coded', not 'nearest': leave the rounding"):
        rounding_for(profile, "nearest")
    with pytest.raises(ConfigError, match="unknown rounding 'up'"):
        rounding_for(profile, "up")


class TwoInputs(nn.Module):
    """Two inputs, one of which is never quantized."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        scores: Tensor = self.layer(x)
        return scores.softmax(-1) + offset.exp()


@pytest.fixture(scope="module")
def quantized() -> sq.QuantizedNetwork:
    torch.manual_seed(0)
    inputs = (torch.randn(8, 4) + 5, torch.randn(8, 3))
    network = sq.capture(TwoInputs().eval(), inputs)
    return sq.quantize(network, sq.BitPlan.uniform(network.table, 4), [inputs])


def test_random_inputs_cover_the_range_of_each_input(quantized: sq.QuantizedNetwork) -> None:
    program = lower(quantized)
    arrays = random_inputs(program, 200)
    assert [array.shape for array in arrays.values()] == [(200, 4), (200, 3)]
    assert all(array.dtype == np.float32 for array in arrays.values())
    first, second = arrays.values()
    assert first.max() > 5
    assert abs(second).max() <= 1
    again = random_inputs(program, 200)
    assert all(np.array_equal(arrays[name], again[name]) for name in arrays)


def test_export_needs_no_data(quantized: sq.QuantizedNetwork, tmp_path: Path) -> None:
    verification = sq.export(quantized, tmp_path / "model.onnx")
    assert verification.samples == 32
    assert (tmp_path / "model.onnx").stat().st_size == verification.file_bytes


def test_export_takes_a_loader_and_compares_its_first_samples(
    quantized: sq.QuantizedNetwork, tmp_path: Path
) -> None:
    loader = ((torch.randn(20, 4) + 5, torch.randn(20, 3)) for _ in range(5))
    assert sq.export(quantized, tmp_path / "model.onnx", samples=loader).samples == 32
    assert len(list(loader)) == 3
    few = [(torch.randn(3, 4), torch.randn(3, 3))]
    assert sq.export(quantized, tmp_path / "model.onnx", samples=few).samples == 3


def test_samples_that_do_not_fit_are_refused_before_a_file_is_written(
    quantized: sq.QuantizedNetwork, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"sample batch 0 has shape \(3, 5\)"):
        sq.export(quantized, tmp_path / "model.onnx", samples=[(torch.ones(3, 5),) * 2])
    with pytest.raises(DataError, match="the sample data gave no samples"):
        sq.export(quantized, tmp_path / "model.onnx", samples=[])
    assert list(tmp_path.iterdir()) == []


class FiveAtATime(nn.Module):
    """Runs on five samples only; whatever is not a layer stays in float."""

    def __init__(self, ends_in_float: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.ends_in_float = ends_in_float

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layer(x.reshape(5, 4).relu())
        return torch.erf(scores).reshape(5, 3, 1) if self.ends_in_float else scores


@pytest.mark.parametrize(("ends_in_float", "compared"), [(True, 5), (False, 32)])
def test_a_fixed_batch_size_is_that_of_the_check_where_operators_stay_float(
    ends_in_float: bool, compared: int
) -> None:
    torch.manual_seed(0)
    loader = [torch.randn(5, 4) for _ in range(8)]
    network = sq.capture(FiveAtATime(ends_in_float).eval(), loader[0])
    assert network.batch_size == 5
    plan = sq.BitPlan.uniform(network.table, 4)
    program = lower(sq.quantize(network, plan, loader))
    (array,) = real_inputs(program, network, read_batches(loader, network)).values()
    assert len(array) == compared


def test_an_unwritable_place(quantized: sq.QuantizedNetwork, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        sq.export(quantized, tmp_path / "file" / "model.onnx")
