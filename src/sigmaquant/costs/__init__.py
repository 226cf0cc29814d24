"""What every choice of widths costs on one device: flash, RAM, latency, energy.

Solvers work on a table and know nothing of kernels, clocks or file formats. This package makes
that table out of a network's layers and a device's profile, and keeps with each cost how well it
is known.
"""

from sigmaquant.costs.build import cost_table
from sigmaquant.costs.table import ChoiceCost, CostTable, RamStep

__all__ = ["ChoiceCost", "CostTable", "RamStep", "cost_table"]
