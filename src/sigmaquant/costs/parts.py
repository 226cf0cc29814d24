"""A plan's time and energy on a device by operator kind, as a board's measurements are fitted."""

from __future__ import annotations

from collections import defaultdict

from sigmaquant.bitplan import BitPlan
from sigmaquant.costs.build import cost_table
from sigmaquant.costs.table import ChoiceCost
from sigmaquant.devices.profile import DeviceProfile
from sigmaquant.errors import DataError, DeviceError
from sigmaquant.layers import LayerTable

OTHER = "other"
"""Everything that is not a layer with weights."""


def cost_parts(
    table: LayerTable, profile: DeviceProfile, plan: BitPlan, layer: str | None = None
) -> dict[str, ChoiceCost]:
    """Summed costs by operator kind, and of all the rest; with ``layer``, of that one alone.

    Raises:
        DataError: no layer of that name.
        DeviceError: the device cannot run the plan.
    """
    costs = cost_table(table, profile)
    names = [each.name for each in table.layers if layer in (None, each.name)]
    if not names:
        raise DataError(f"{table.network} has no layer {layer!r}")
    parts: defaultdict[str, list[ChoiceCost]] = defaultdict(list)
    for name in names:
        try:
            parts[table.layer(name).kind].append(costs.choice(plan, name))
        except KeyError as missing:
            raise DeviceError(
                f"{profile.name} cannot run {name!r} as the plan says: no figures for {missing}"
            ) from missing
    if layer is None:
        parts[OTHER].append(costs.fixed)
    return {str(kind): _summed(own) for kind, own in parts.items()}


def _summed(costs: list[ChoiceCost]) -> ChoiceCost:
    return ChoiceCost(
        flash_bytes=sum(cost.flash_bytes for cost in costs),
        latency_ms=sum(cost.latency_ms for cost in costs),
        energy_uj=sum(cost.energy_uj for cost in costs),
    )
