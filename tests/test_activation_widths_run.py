"""The road on a device that gains by narrow activations, from scores to a verified file."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import sigmaquant as sq
from sigmaquant.errors import InfeasibleError, UnsupportedError
from sigmaquant.report import print_report

SHIFT_ADD = sq.load_profile("shift-add")


def packed(*widths: int) -> sq.DeviceProfile:
    """The shift-add accelerator, if it kept activations of these widths packed."""
    supports = {kind: dict.fromkeys(bits, widths) for kind, bits in SHIFT_ADD.supports.items()}
    storage = SHIFT_ADD.activation_storage.model_copy(
        update={"bits": {bits: bits for bits in widths}}
    )
    return SHIFT_ADD.model_copy(update={"supports": supports, "activation_storage": storage})


class Funnel(nn.Module):
    """Its largest tensor is in memory in two steps, with a small one each time."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(2, 8, 3, padding=1)
        self.narrow = nn.Conv2d(8, 8, 3, 2, padding=1)
        self.out = nn.Linear(128, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(self.narrow(self.wide(x).relu()).relu().flatten(1))
        return logits


@pytest.fixture(scope="module")
def model() -> Funnel:
    torch.manual_seed(0)
    return Funnel().eval()


@pytest.fixture(scope="module")
def calibration(model: Funnel) -> DataLoader[tuple[Tensor, ...]]:
    images = torch.randn(48, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return DataLoader(TensorDataset(images, model(images).argmax(1)), 16)


def test_a_run_narrows_what_the_ram_needs_and_exports_it(
    model: Funnel, calibration: DataLoader[tuple[Tensor, ...]], tmp_path: Path
) -> None:
    found = sq.optimize(
        model,
        calibration=calibration,
        device=packed(2, 3, 4, 5, 6, 7, 8),
        budget=sq.Budget(ram="500 B"),  # 640 at 8 bits
        out=tmp_path,
    )
    widths = found.plan.activation_bits
    assert min(widths.values()) < max(widths.values()) <= 8
    assert found.report.activation_bits == widths
    assert found.report.budget("peak_ram_bytes").fits
    assert found.report.exports[0].differing_values == 0
    text = io.StringIO()
    print_report(found.report, Console(file=text, width=120))
    for group, bits in widths.items():
        assert any(line.split() == [group, str(bits)] for line in text.getvalue().splitlines())
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '"activation_bits":{"' in page


def test_a_fixed_width_is_kept_and_refused_before_anything_is_scored(
    model: Funnel, calibration: DataLoader[tuple[Tensor, ...]], tmp_path: Path
) -> None:
    with pytest.raises(InfeasibleError, match=r"with 8-bit activations the peak is 640 B, at "):
        sq.optimize(
            model,
            calibration=calibration,
            device=packed(4, 8),
            budget=sq.Budget(ram="500 B"),
            activation_bits=8,
            out=tmp_path,
        )
    assert not (tmp_path / "scores.json").exists()


def test_16_bits_are_simulated_and_refused_by_the_export(
    model: Funnel, calibration: DataLoader[tuple[Tensor, ...]], tmp_path: Path
) -> None:
    network = sq.capture(model, torch.zeros(2, 2, 8, 8))
    scores = sq.score(network, calibration, activation_widths=(8, 16))
    plan = sq.search(network, scores, device=packed(8, 16), budget=sq.Budget(), activation_bits=16)
    assert set(plan.activation_bits.values()) == {16}
    quantized = sq.quantize(network, plan, calibration)
    with pytest.raises(UnsupportedError, match="activations of 16 bits at x"):
        sq.export(quantized, tmp_path / "model.onnx")


def test_the_front_trades_ram_where_activations_are_chosen(
    model: Funnel, calibration: DataLoader[tuple[Tensor, ...]]
) -> None:
    network = sq.capture(model, torch.zeros(2, 2, 8, 8))
    scores = sq.score(network, calibration, activation_widths=(4, 6, 8))
    front = sq.pareto(
        network, scores, device=packed(4, 6, 8), metrics=("rise", "peak_ram_bytes"), points=5
    )
    peaks = [point.totals["peak_ram_bytes"] for point in front.points]
    assert peaks[0] == 640
    assert peaks == sorted(set(peaks), reverse=True)
    assert peaks[-1] == 320
