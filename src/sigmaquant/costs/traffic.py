"""Bytes that a layer or an operator moves, and how often a layer is used."""

from __future__ import annotations

import math

from sigmaquant.devices.storage import ActivationStorage
from sigmaquant.layers import LayerSpec, StepSpec

_FLOAT_BYTES = 4


def layer_uses(layer: LayerSpec) -> float:
    """Places where a layer is used, from its MACs, which cover all of them."""
    return layer.executed_macs / layer.kernel_elements / layer.outputs


def layer_activation_bytes(
    layer: LayerSpec, activation_bits: int, storage: ActivationStorage
) -> float:
    """Input and output of one use; the output is taken to be as wide as the input."""
    values = math.prod(layer.input_shape) + layer.outputs
    return values * storage.bits[activation_bits] / 8


def step_bytes(step: StepSpec, elements: int) -> int:
    """What an operator without weights moves: its values, read once and written once.

    A quantized value counts as one byte: the step's cost may not depend on the plan.
    """
    return 2 * elements * (1 if step.quantized else _FLOAT_BYTES)
