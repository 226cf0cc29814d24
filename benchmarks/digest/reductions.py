"""How many times less energy and time a plan takes than 8 bits everywhere."""

from __future__ import annotations

from sigmaquant.bitplan import BitPlan
from sigmaquant.costs import CostTable, cost_table
from sigmaquant.devices import load_profile
from sigmaquant.layers import LayerTable

DEVICES = ("shift-add", "cortex-m4", "cortex-m7")
"""They store every width 2..8 packed, so that flash is the same on each of them."""
COSTS = ("energy_uj", "latency_ms")

_INT8_BITS = 8


class Reductions:
    """Costs of one network's plans on every device.

    Args:
        table: the network's layers.
    """

    def __init__(self, table: LayerTable) -> None:
        self._int8 = BitPlan.uniform(table, _INT8_BITS)
        self._costs = {name: cost_table(table, load_profile(name)) for name in DEVICES}

    @property
    def costs(self) -> CostTable:
        """What every choice takes on the first device."""
        return self._costs[DEVICES[0]]

    def of(self, plan: BitPlan) -> dict[str, float]:
        """Costs of 8 bits everywhere over the plan's, by device and cost."""
        quotients: dict[str, float] = {}
        for device, costs in self._costs.items():
            ours, theirs = costs.totals(plan), costs.totals(self._int8)
            quotients |= {f"{device} {cost}": theirs[cost] / ours[cost] for cost in COSTS}
        return quotients
