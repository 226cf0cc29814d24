"""What a library says of itself in ``model.json``: its ends, its widths and its memory."""

from __future__ import annotations

import math

from sigmaquant.artifact import Artifact, Frozen


class Port(Frozen):
    """An input or output of the network: name in the network, and shape without batch."""

    name: str
    shape: tuple[int, ...]

    @property
    def floats(self) -> int:
        """Number of values of one sample."""
        return math.prod(self.shape)


class Step(Frozen):
    """One call of ``model_run``.

    Attributes:
        name: the operator's place in the network.
        operator: what it does, such as "Convolution".
        layer: whose weights it uses, if any.
    """

    name: str
    operator: str
    layer: str | None = None


class Manifest(Artifact):
    """The content of ``model.json``.

    Attributes:
        network: name of its class.
        inputs, outputs: in the order of ``model_run``'s parameters.
        weight_bits: width of each layer's weights.
        table_bytes: constants: weights, biases, multipliers and lookup tables.
        arena_bytes: RAM for the values between the operators.
        live_bytes: what no arena for these operators can do without.
        scratch_bytes: RAM of the operator that runs.
        kernels: how often each kernel is called.
        tolerance: largest difference of an output from the reference; 0 where they are equal.
        steps: in order; MODEL_STEP_DONE counts them from 0.
    """

    network: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    weight_bits: dict[str, int]
    table_bytes: int
    arena_bytes: int
    live_bytes: int
    scratch_bytes: int
    kernels: dict[str, int]
    tolerance: float = 0.0
    steps: tuple[Step, ...] = ()
