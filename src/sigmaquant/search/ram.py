"""Peak RAM as sums over choices: one for each step of the schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sigmaquant.costs.table import CostTable, RamStep
from sigmaquant.search.arrays import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class RamRows:
    """Bytes in memory at each step that can be the largest; peak RAM is the largest sum.

    Attributes:
        values: (steps, choices) bytes of the tensors of a group at a width, and of a layer's
            weights where they are expanded in RAM.
        fixed: (steps,) bytes whatever is chosen: the reserve, tensors of fixed width.
    """

    values: FloatArray
    fixed: FloatArray

    @classmethod
    def of(
        cls,
        costs: CostTable,
        fixed: Mapping[str, int],
        groups: Mapping[str, Mapping[int, int]],
        layers: Mapping[str, FloatArray],
        count: int,
    ) -> RamRows:
        """The steps of a schedule, without those that never take more than another one.

        Args:
            costs: has the schedule.
            fixed: width of each group that has only one.
            groups: choices of each other group, by width.
            layers: by layer, (choices,) bytes that its weights are expanded to while it runs.
            count: of all choices.
        """
        rows = [_row(costs, step, fixed, groups, layers, count) for step in costs.ram_steps]
        rows.append((np.zeros(count), 0))  # the peak of a schedule without steps
        values = np.array([row for row, _ in rows])
        constant = np.array([size for _, size in rows], dtype=float)
        largest = _not_dominated(values, constant)
        return cls(values[largest], constant[largest] + costs.ram_reserve_bytes)

    def only(self, kept: IntArray) -> RamRows:
        """The bytes of some of the choices: (kept,)."""
        return RamRows(self.values[:, kept], self.fixed)

    def peak(self, chosen: IntArray) -> float:
        """Peak RAM of a plan; whole numbers, so that the sum is exact."""
        return float((self.values[:, chosen].sum(axis=1) + self.fixed).max())


def _row(
    costs: CostTable,
    step: RamStep,
    fixed: Mapping[str, int],
    groups: Mapping[str, Mapping[int, int]],
    layers: Mapping[str, FloatArray],
    count: int,
) -> tuple[FloatArray, int]:
    """Bytes of every choice at one step, (choices,), and those that don't depend on choices."""
    values, constant = np.zeros(count), 0
    for elements, group in zip(step.elements, step.groups, strict=True):
        if group is None or group in fixed:
            constant += costs.stored_bytes(elements, None if group is None else fixed[group])
            continue
        for bits, choice in groups[group].items():
            values[choice] += costs.stored_bytes(elements, bits)
    if step.layer is not None and step.layer in layers:
        values += layers[step.layer]
    return values, constant


def _not_dominated(values: FloatArray, constant: FloatArray) -> IntArray:
    """The steps that no other one exceeds whatever is chosen: indices, ascending."""
    rows = np.column_stack([values[:, values.any(axis=0)], constant])
    kept: list[int] = []
    for at in np.argsort(-rows.sum(axis=1), kind="stable").tolist():
        if not (rows[kept] >= rows[at]).all(axis=1).any():
            kept.append(at)
    return np.array(sorted(kept), dtype=np.int64)
