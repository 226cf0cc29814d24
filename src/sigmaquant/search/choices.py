"""Every width that every layer can have, as flat arrays: what all solvers compute on.

A *choice* is one layer at one width. The choices of a layer are neighbours, in ascending width, so
that a plan is one index into the arrays for each layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sigmaquant.costs.table import ChoiceCost, CostTable
from sigmaquant.errors import DeviceError

ADDITIVE = ("flash_bytes", "latency_ms", "energy_uj")
"""The metrics that are sums over layers; peak RAM is not, and does not depend on weights."""

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Choices:
    """The choices of all layers, one after the other.

    Attributes:
        layers: names, in the cost table's order.
        starts: (layers + 1,) first choice of each layer; the last entry is their number.
        layer: (choices,) index of the choice's layer.
        weight_bits: (choices,) width.
        costs: by additive metric, (choices,).
        fixed: by additive metric, what is spent outside the layers.
    """

    layers: tuple[str, ...]
    starts: IntArray
    layer: IntArray
    weight_bits: IntArray
    costs: Mapping[str, FloatArray]
    fixed: Mapping[str, float]

    @classmethod
    def of(cls, costs: CostTable, activation_bits: Mapping[str, int]) -> Choices:
        """The choices that the device has at these activation widths.

        Raises:
            DeviceError: there is no layer, or a layer has none.
        """
        if not costs.choices:
            raise DeviceError(f"the cost table of {costs.device} has no layers: nothing to choose")
        by_layer = {name: _layer_choices(costs, name, activation_bits) for name in costs.choices}
        counts = [len(found) for found in by_layer.values()]
        chosen = [cost for found in by_layer.values() for cost in found.values()]
        return cls(
            layers=tuple(by_layer),
            starts=np.cumsum([0, *counts]),
            layer=np.repeat(np.arange(len(counts)), counts),
            weight_bits=np.array([b for found in by_layer.values() for b in found], dtype=np.int64),
            costs={m: np.array([getattr(c, m) for c in chosen], dtype=float) for m in ADDITIVE},
            fixed={m: float(getattr(costs.fixed, m)) for m in ADDITIVE},
        )

    def __len__(self) -> int:
        return len(self.layer)

    def only(self, kept: IntArray) -> Choices:
        """Some of the choices, in order; at least one of each layer: (kept,)."""
        return Choices(
            layers=self.layers,
            starts=np.searchsorted(self.layer[kept], np.arange(len(self.layers) + 1)),
            layer=self.layer[kept],
            weight_bits=self.weight_bits[kept],
            costs={metric: values[kept] for metric, values in self.costs.items()},
            fixed=self.fixed,
        )

    def smallest(self, values: FloatArray) -> IntArray:
        """The choice of each layer with the smallest value, the narrowest at a tie: (layers,)."""
        order = np.lexsort((self.weight_bits, values, self.layer))
        return order[self.starts[:-1]]

    def total(self, metric: str, chosen: IntArray) -> float:
        """The cost of a plan, added in the order of ``CostTable.totals`` to the same last bit."""
        return sum(self.costs[metric][chosen].tolist(), self.fixed[metric])

    def bits(self, chosen: IntArray) -> dict[str, int]:
        """Width by layer name."""
        return dict(zip(self.layers, self.weight_bits[chosen].tolist(), strict=True))

    def index(self, weight_bits: Mapping[str, int]) -> IntArray:
        """The choices of a plan: (layers,); KeyError where the device lacks one."""
        place = {
            (self.layers[layer], bits): at
            for at, (layer, bits) in enumerate(
                zip(self.layer.tolist(), self.weight_bits.tolist(), strict=True)
            )
        }
        found = [place[name, weight_bits[name]] for name in self.layers]
        return np.array(found, dtype=np.int64)


def same_activations(costs: CostTable, bits: int) -> dict[str, int]:
    """One activation width for every precision group of the network.

    Raises:
        DeviceError: the device does not store activations of that width.
    """
    if bits not in costs.activation_storage_bits:
        stored = ", ".join(str(b) for b in sorted(costs.activation_storage_bits))
        raise DeviceError(
            f"{costs.device} does not store activations of {bits} bits; it stores {stored}"
        )
    read = [group for groups in costs.input_groups.values() for group in groups]
    live = [group for step in costs.ram_steps for group in step.groups if group is not None]
    return dict.fromkeys([*read, *live], bits)


def _layer_choices(
    costs: CostTable, layer: str, activation_bits: Mapping[str, int]
) -> dict[int, ChoiceCost]:
    reads = max(activation_bits[group] for group in costs.input_groups[layer])
    offered = costs.choices[layer]
    found = {bits: offered[bits][reads] for bits in sorted(offered) if reads in offered[bits]}
    if not found:
        widths = sorted({a for by_activation in offered.values() for a in by_activation})
        what = f"only with {', '.join(map(str, widths))}" if widths else "at no width"
        raise DeviceError(
            f"{costs.device} cannot run layer {layer} with {reads}-bit activations: {what}"
        )
    return found
