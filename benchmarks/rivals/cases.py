"""What one row of the comparison is: who chose the widths, who applied them, on which draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.results import BenchRow
from benchmarks.rivals.workers.exchange import Samples
from sigmaquant.layers import LayerTable

METRIC = "top1_percent"
FLOAT, UNIFORM = "fp32", "uniform"
OWN, OUR, NEAREST = "own", "our", "nearest"


@dataclass(frozen=True)
class Case:
    """The identity of a row within its network.

    Attributes:
        tool: what chose the widths.
        rounding: whose quantizer applied them; None for the float network.
        budget_bits: bits a weight that it was allowed; None where it takes no budget.
        draw: seed of the draw of the calibration samples.
    """

    tool: str
    rounding: str | None
    budget_bits: float | None
    draw: int

    @property
    def variant(self) -> str:
        """The row's name, such as "MCT, own rounding, 3 bits, draw 0"."""
        parts = [self.tool]
        if self.rounding is not None:
            parts.append(f"{self.rounding} rounding")
        if self.budget_bits is not None:
            parts.append(f"{self.budget_bits:g} bits")
        return ", ".join([*parts, f"draw {self.draw}"])


@dataclass(frozen=True)
class Quality:
    """How good a network's answers are.

    Attributes:
        accuracy: part of the samples that it gets right.
        nll_nats: mean negative log-likelihood of the labels.
    """

    accuracy: float
    nll_nats: float


@dataclass(frozen=True)
class Setting:
    """What all rows of one network and draw share.

    Attributes:
        network: its name.
        table: its layers.
        test: samples to report on.
        floating: quality of the float network on them.
    """

    network: str
    table: LayerTable
    test: Samples
    floating: Quality

    def float_row(self, case: Case) -> BenchRow:
        """The float network's row."""
        return self._row(case, self.floating, {})

    def row(
        self,
        case: Case,
        quality: Quality,
        weight_bits: Mapping[str, int],
        seconds: Mapping[str, float],
        objective_gap: float | None = None,
    ) -> BenchRow:
        """The row of a quantized network."""
        sizes = {layer.name: layer.weights for layer in self.table.layers}
        return self._row(case, quality, seconds).model_copy(
            update={
                "weight_bits": dict(weight_bits),
                "weight_bits_mean": sum(size * weight_bits[layer] for layer, size in sizes.items())
                / self.table.weights,
                "weight_bytes": weight_bytes(self.table, weight_bits),
                "objective_gap": objective_gap,
            }
        )

    def _row(self, case: Case, quality: Quality, seconds: Mapping[str, float]) -> BenchRow:
        return BenchRow(
            network=self.network,
            variant=case.variant,
            metric=METRIC,
            value=100 * quality.accuracy,
            float_value=100 * self.floating.accuracy,
            seconds={stage: round(value, 4) for stage, value in seconds.items()},
            samples=len(self.test),
            tool=case.tool,
            rounding=case.rounding,
            budget_bits=case.budget_bits,
            draw=case.draw,
            nll_nats=quality.nll_nats,
        )


def weight_bytes(table: LayerTable, weight_bits: Mapping[str, int]) -> int:
    """Packed weights of a plan, each layer padded to whole bytes."""
    return sum(-(-layer.weights * weight_bits[layer.name] // 8) for layer in table.layers)


def budget_weight_bytes(table: LayerTable, budget_bits: float) -> int:
    """Bytes for the packed weights under a budget of that many bits a weight."""
    return int(budget_bits * table.weights / 8)
