"""RAM: which values are in memory while each step runs, and how many a step handles."""

from __future__ import annotations

from sigmaquant.costs.table import RamStep
from sigmaquant.layers import LayerTable


def ram_steps(table: LayerTable) -> tuple[RamStep, ...]:
    """The schedule with the live tensors' names, sizes and precision groups."""
    tensors = {tensor.name: tensor for tensor in table.tensors}
    return tuple(
        RamStep(
            name=step.name,
            elements=tuple(tensors[name].elements for name in step.live),
            groups=tuple(tensors[name].group for name in step.live),
            tensors=step.live,
            layer=step.layer,
        )
        for step in table.steps
    )


def handled_elements(table: LayerTable) -> tuple[int, ...]:
    """Values that each step of the schedule reads or writes, whichever is more.

    The schedule does not list inputs, but a tensor that dies after a step was an input of it: so
    a global pool counts what it reads, and a skip connection that only waits does not count.
    """
    sizes = {tensor.name: tensor.elements for tensor in table.tensors}
    needed_later: list[frozenset[str]] = [frozenset(step.live) for step in table.steps[1:]]
    needed_later.append(frozenset())
    return tuple(
        max(sizes[name] for name in {step.output, *step.live} - (later - {step.output}))
        for step, later in zip(table.steps, needed_later, strict=True)
    )
