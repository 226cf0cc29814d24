"""What a captured network consists of, without its weights: layers, tensors and the schedule.

Shapes and sizes are of one sample (no batch dimension). This module never imports torch, so that
costs, search and reports work on a saved table alone.
"""

from __future__ import annotations

import math
from enum import StrEnum

from sigmaquant.artifact import Artifact, Frozen

WIDTHS = (2, 3, 4, 5, 6, 7, 8)
"""The weight widths, in bits, that a layer can be given."""

ACTIVATION_WIDTHS = (*WIDTHS, 16)
"""The activation widths, in bits, that a precision group can be given."""


def container_bits(width: int) -> int:
    """Bits of memory for a value that is packed so that none crosses a byte: a power of two.

    The C library stores activations so, and the profile of a device that runs it has to agree in
    its ``activation_storage``.

    >>> [container_bits(width) for width in ACTIVATION_WIDTHS]
    [2, 4, 4, 8, 8, 8, 8, 16]
    """
    return 1 << (width - 1).bit_length()


class LayerKind(StrEnum):
    """Kinds of layers whose weights are quantized."""

    CONV = "conv"
    DEPTHWISE_CONV = "depthwise_conv"
    LINEAR = "linear"


class LayerSpec(Frozen):
    """One layer with a weight.

    Attributes:
        name: module path as the user knows it, such as ``layer1.0.conv2``.
        kind: what the device's kernels and costs depend on.
        weight_shape: (out, in/groups, *kernel) for convolutions, (out, in) for linear.
        input_shape: (channels, *spatial) or (..., features), without batch; as the kernel reads it,
            which for a transposed convolution is with zeros between the values.
        output_shape: as ``input_shape``.
        macs: multiply-accumulates for one sample, over all places the layer is used; without those
            that meet a zero put between the values of a transposed convolution's input.
        zero_macs: those that do: kernels execute them, since they see a plain convolution.
        groups: convolution groups; 1 for linear.
        input_groups: precision groups of its inputs, one for each place it is used.
        output_group: precision group of its output; None where the output stays float.
    """

    name: str
    kind: LayerKind
    weight_shape: tuple[int, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    macs: int
    zero_macs: int = 0
    groups: int = 1
    input_groups: tuple[str, ...]
    output_group: str | None

    @property
    def weights(self) -> int:
        """Number of weights."""
        return math.prod(self.weight_shape)

    @property
    def channels(self) -> int:
        """Number of output channels: so many scales and biases."""
        return self.weight_shape[0]

    @property
    def kernel_elements(self) -> int:
        """Length of the dot product behind one output value."""
        return math.prod(self.weight_shape[1:])

    @property
    def is_pointwise(self) -> bool:
        """Whether it is one matrix applied to every place: a kernel of 1 that keeps all places."""
        places_kept = self.input_shape[1:] == self.output_shape[1:]
        ones = all(size == 1 for size in self.weight_shape[2:])
        return self.kind is LayerKind.CONV and self.groups == 1 and ones and places_kept

    @property
    def executed_macs(self) -> int:
        """Multiply-accumulates that kernels execute for one sample."""
        return self.macs + self.zero_macs

    @property
    def outputs(self) -> int:
        """Number of output values for one sample."""
        return math.prod(self.output_shape)


class TensorSpec(Frozen):
    """An activation tensor that occupies memory while the network runs.

    Attributes:
        name: unique in the table.
        shape: without batch.
        group: precision group; tensors of a group share one width. None: float32.
    """

    name: str
    shape: tuple[int, ...]
    group: str | None

    @property
    def elements(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


class StepSpec(Frozen):
    """One step of the execution schedule.

    Attributes:
        name: the operator's place in the network.
        operator: "conv", "depthwise_conv", "linear", "add", "concat", "max_pool", ...
        layer: the layer whose weights it uses, if any.
        live: names of the tensors in memory while it runs: inputs, output, what later steps need.
        output: the tensor it writes.
        quantized: False where the operator runs in float.
    """

    name: str
    operator: str
    layer: str | None
    live: tuple[str, ...]
    output: str
    quantized: bool


class LayerTable(Artifact):
    """All a device's cost depends on: layers, tensors, and the order of execution.

    Attributes:
        network: name of the network's class.
        layers: in order of execution.
        tensors: every activation.
        steps: the schedule.
        float_parameters: parameters outside quantized layers, stored as float32.
        float_operators: places and names of operators that stay float, for the report.
    """

    network: str
    layers: tuple[LayerSpec, ...]
    tensors: tuple[TensorSpec, ...]
    steps: tuple[StepSpec, ...]
    float_parameters: int = 0
    float_operators: tuple[str, ...] = ()

    def layer(self, name: str) -> LayerSpec:
        """The layer of that name; KeyError if there is none."""
        return {layer.name: layer for layer in self.layers}[name]

    def tensor(self, name: str) -> TensorSpec:
        """The tensor of that name; KeyError if there is none."""
        return {tensor.name: tensor for tensor in self.tensors}[name]

    @property
    def groups(self) -> tuple[str, ...]:
        """Precision groups, in order of first appearance."""
        return tuple(dict.fromkeys(t.group for t in self.tensors if t.group is not None))

    @property
    def weights(self) -> int:
        """Quantizable weights of the whole network."""
        return sum(layer.weights for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the quantizable layers, for one sample."""
        return sum(layer.macs for layer in self.layers)
