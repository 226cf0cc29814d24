"""What every choice costs on one device, and what a whole plan costs.

The solvers see nothing else of a device: a choice is a lookup here, never a formula in bits.
"""

from __future__ import annotations

import pydantic

from sigmaquant.artifact import Artifact, Frozen
from sigmaquant.bitplan import BitPlan

_USUAL_BITS = 8
_FLOAT_BITS = 32


class ChoiceCost(Frozen):
    """The additive costs of one layer at one width.

    Attributes:
        flash_bytes: packed weights, scales and biases.
        latency_ms: time for one sample.
        energy_uj: energy for one sample.
    """

    flash_bytes: int
    latency_ms: float
    energy_uj: float


class RamStep(Frozen):
    """The tensors in memory while one operator runs.

    Attributes:
        name: the operator's place in the network.
        elements: number of values of each live tensor.
        groups: precision group of each live tensor; None where it is float32.
        tensors: their names, for messages; empty where they are not known.
        layer: the layer whose weights it uses, if any.
    """

    name: str
    elements: tuple[int, ...]
    groups: tuple[str | None, ...]
    tensors: tuple[str, ...] = ()
    layer: str | None = None


class CostTable(Artifact):
    """Costs of every (layer, weight bits, activation bits) on one device.

    Attributes:
        device: the profile's name.
        choices: by layer, weight width, then width of the layer's input activations. Only what
            the device stores and executes is there.
        fixed: everything outside the layers: float parameters, other operators, start-up.
        ram_steps: the schedule; peak RAM is its largest step.
        ram_reserve_bytes: RAM taken whatever the plan: stack, runtime.
        activation_storage_bits: bits that one value of that activation width takes in RAM.
        expanded_bytes: by layer and weight width, RAM that the weights are expanded to while the
            layer runs; what is not there is read where it is stored.
        input_groups: for each layer, the precision groups it reads.
        marks: by cost metric, the weakest evidence behind it: "measured", "emulated", "derived" or
            "estimated"; a metric that the device has no figures for is not there, and costs 0.
    """

    device: str
    choices: dict[str, dict[int, dict[int, ChoiceCost]]]
    fixed: ChoiceCost
    ram_steps: tuple[RamStep, ...]
    ram_reserve_bytes: int = 0
    activation_storage_bits: dict[int, int]
    expanded_bytes: dict[str, dict[int, int]] = pydantic.Field(default_factory=dict)
    input_groups: dict[str, tuple[str, ...]]
    marks: dict[str, str]

    def weight_widths(self, layer: str) -> tuple[int, ...]:
        """Weight widths the device can run this layer at, ascending."""
        return tuple(sorted(self.choices[layer]))

    @property
    def groups(self) -> tuple[str, ...]:
        """Precision groups that a layer reads or that take memory."""
        read = [group for groups in self.input_groups.values() for group in groups]
        live = [group for step in self.ram_steps for group in step.groups if group is not None]
        return tuple(dict.fromkeys([*read, *live]))

    @property
    def native_activation_bits(self) -> int:
        """The width that activations have unless another one gains something.

        8 bits, in which the kernels of all runtimes compute, or the widest that the device stores.
        """
        stored = self.activation_storage_bits
        return _USUAL_BITS if _USUAL_BITS in stored else max(stored, default=_USUAL_BITS)

    def activation_widths(self, group: str) -> tuple[int, ...]:
        """Widths that the device stores and every layer that reads the group runs with, ascending.

        A layer may have only some of its weight widths at one of them.
        """
        found = set(self.activation_storage_bits)
        for layer, groups in self.input_groups.items():
            if group in groups:
                found &= {bits for by_input in self.choices[layer].values() for bits in by_input}
        return tuple(sorted(found))

    @property
    def activation_choices(self) -> tuple[int, ...]:
        """Widths that some group has a choice of, ascending; none where all have one only."""
        offered = (self.activation_widths(group) for group in self.groups)
        return tuple(sorted({bits for own in offered if len(own) > 1 for bits in own}))

    def choice(self, plan: BitPlan, layer: str) -> ChoiceCost:
        """The cost of one layer in a plan; KeyError where the device cannot run it."""
        activation_bits = max(plan.activation_bits[g] for g in self.input_groups[layer])
        return self.choices[layer][plan.weight_bits[layer]][activation_bits]

    def step_bytes(self, plan: BitPlan, step: RamStep) -> int:
        """RAM of one step: live tensors, each padded to whole bytes, and expanded weights."""
        return sum(self.tensor_bytes(plan, step)) + self._expanded_bytes(plan, step.layer)

    def _expanded_bytes(self, plan: BitPlan, layer: str | None) -> int:
        """Of the layer's weights; none where the plan has no width for them."""
        if layer not in self.expanded_bytes or layer not in plan.weight_bits:
            return 0
        return self.expanded_bytes[layer].get(plan.weight_bits[layer], 0)

    def tensor_bytes(self, plan: BitPlan, step: RamStep) -> tuple[int, ...]:
        """RAM of each live tensor of one step, in the step's order."""
        widths = (None if group is None else plan.activation_bits[group] for group in step.groups)
        sizes = zip(step.elements, widths, strict=True)
        return tuple(self.stored_bytes(elements, width) for elements, width in sizes)

    def stored_bytes(self, elements: int, activation_bits: int | None) -> int:
        """RAM of one tensor at a width, padded to whole bytes; None is float32."""
        if activation_bits is None:
            return elements * _FLOAT_BITS // 8
        return -(-elements * self.activation_storage_bits[activation_bits] // 8)

    def peak_ram_bytes(self, plan: BitPlan) -> int:
        """The largest step of the schedule, and the reserve."""
        steps = (self.step_bytes(plan, step) for step in self.ram_steps)
        return self.ram_reserve_bytes + max(steps, default=0)

    def totals(self, plan: BitPlan) -> dict[str, float]:
        """All four costs of a plan, by metric name."""
        chosen = [self.fixed, *(self.choice(plan, layer) for layer in self.choices)]
        return {
            "flash_bytes": sum(cost.flash_bytes for cost in chosen),
            "peak_ram_bytes": self.peak_ram_bytes(plan),
            "latency_ms": sum(cost.latency_ms for cost in chosen),
            "energy_uj": sum(cost.energy_uj for cost in chosen),
        }
