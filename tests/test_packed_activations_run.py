"""A RAM budget that only packed activations meet, from the scores to the arena of the C library."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import sigmaquant as sq
from sigmaquant.costs import cost_table
from sigmaquant.errors import InfeasibleError
from sigmaquant.export.c.compiler import find_compiler
from sigmaquant.export.c.manifest import Manifest
from sigmaquant.layers import WIDTHS, container_bits

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler here")

CORTEX_M4 = sq.load_profile("cortex-m4")
KIB = 1024
RESERVE = CORTEX_M4.reserve.ram_bytes  # for the stack, and for scratch memory
BUDGET = sq.Budget(ram="64 KiB")


def packing() -> sq.DeviceProfile:
    """The Cortex-M4, if its kernels had been measured with packed activations."""
    supports = {kind: dict.fromkeys(bits, WIDTHS) for kind, bits in CORTEX_M4.supports.items()}
    storage = {bits: container_bits(bits) for bits in WIDTHS}
    return CORTEX_M4.model_copy(
        update={
            "supports": supports,
            "activation_storage": CORTEX_M4.activation_storage.model_copy(update={"bits": storage}),
        }
    )


class WideStart(nn.Module):
    """Two images of 16 x 64 x 48 values in memory at once, then smaller ones."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 16, 3, padding=1)
        self.each = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.narrow = nn.Conv2d(16, 12, 1, stride=4)
        self.mixed = nn.Conv2d(12, 12, 3, padding=1)
        self.out = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        small = self.narrow(self.each(self.wide(x).relu()).relu()).relu()
        total = nn.functional.max_pool2d((small + self.mixed(small)).relu(), 2)
        logits: Tensor = self.out(total.mean((2, 3)))
        return logits


@pytest.fixture(scope="module")
def model() -> WideStart:
    torch.manual_seed(0)
    return WideStart().eval()


@pytest.fixture(scope="module")
def calibration(model: WideStart) -> DataLoader[tuple[Tensor, ...]]:
    images = torch.randn(24, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return DataLoader(TensorDataset(images, model(images).argmax(1)), 8)


def test_96_kib_of_int8_values_run_in_64_kib(
    model: WideStart, calibration: DataLoader[tuple[Tensor, ...]], tmp_path: Path
) -> None:
    device = packing()
    table = sq.capture(model, torch.zeros(2, 3, 64, 48)).table
    costs = cost_table(table, device)
    assert costs.peak_ram_bytes(sq.BitPlan.uniform(table, 4)) == 96 * KIB + RESERVE
    found = sq.optimize(
        model, calibration=calibration, device=device, budget=BUDGET, format="c", out=tmp_path
    )
    (export,) = found.report.exports
    assert export.verified
    assert export.differing_values == 0
    manifest = Manifest.load(tmp_path / "model_c" / "model.json")
    assert manifest.arena_bytes == costs.peak_ram_bytes(found.plan) - RESERVE
    assert manifest.arena_bytes <= 64 * KIB - RESERVE
    assert manifest.scratch_bytes <= RESERVE


def test_without_packing_there_is_no_plan(
    model: WideStart, calibration: DataLoader[tuple[Tensor, ...]]
) -> None:
    with pytest.raises(InfeasibleError, match="8-bit activations the peak is 104 KiB, at each"):
        sq.optimize(
            model, calibration=calibration, device=packing(), budget=BUDGET, activation_bits=8
        )
