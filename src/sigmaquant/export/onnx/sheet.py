"""What the writers of operators share: the graph so far and where each value is in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.onnx.graph import GraphBuilder
from sigmaquant.export.onnx.parameters import Parameters
from sigmaquant.lowering.program import Encoding, IntegerProgram, Value

_ACTIVATION_BITS = range(1, 9)


@dataclass(frozen=True)
class Sheet:
    """What the writers write on.

    Attributes:
        graph: nodes and constants so far.
        program: what is exported.
        tensors: the tensor of each value.
        weights: the int8 tensor of each layer.
        parameters: the layers' scales and biases, for writers that need them as tensors.
    """

    graph: GraphBuilder
    program: IntegerProgram
    tensors: Mapping[str, str]
    weights: Mapping[str, str]
    parameters: Parameters = field(default_factory=lambda: Parameters({}, {}))
    _real: dict[str, str] = field(default_factory=dict)

    def value(self, name: str) -> Value:
        """The record of a value."""
        return self.program.values[name]

    def encoding(self, name: str) -> Encoding:
        """The encoding of a quantized value.

        Raises:
            UnsupportedError: more bits than a uint8 holds.
        """
        encoding = self.value(name).encoding
        assert encoding is not None, f"{name} is float where integers are needed"
        if encoding.bits not in _ACTIVATION_BITS:
            raise UnsupportedError(
                f"value {name!r} has {encoding.bits} bits; ONNX Runtime's int8 kernels take 1 to 8"
            )
        return encoding

    def encoding_inputs(self, name: str) -> list[str]:
        """Scale and zero point of a value, as DequantizeLinear and QuantizeLinear take them."""
        encoding = self.encoding(name)
        zero_point = self.graph.constant(np.uint8(encoding.zero_point))
        return [self.graph.scalar(encoding.scale), zero_point]

    def real(self, name: str) -> str:
        """A quantized value, dequantized: one node for all operators that read it."""
        if name not in self._real:
            self._real[name] = self.dequantized(self.tensors[name], name)
        return self._real[name]

    def dequantized(self, integers: str, name: str, output: str | None = None) -> str:
        """``integers`` in the encoding of the value ``name``, as real numbers."""
        inputs = [integers, *self.encoding_inputs(name)]
        return self.graph.add("DequantizeLinear", inputs, output=output)

    def quantized(self, real: str, name: str, output: str | None) -> str:
        """Real numbers in the encoding of the value ``name``; its width by an integer Clip."""
        encoding = self.encoding(name)
        inputs = [real, *self.encoding_inputs(name)]
        if encoding.highest == np.iinfo(np.uint8).max:
            return self.graph.add("QuantizeLinear", inputs, output=output)
        integers = self.graph.add("QuantizeLinear", inputs)
        highest = self.graph.constant(np.uint8(encoding.highest))
        return self.graph.add("Clip", [integers, "", highest], output=output)

    def reshaped(self, tensor: str, shape: Sequence[int], output: str | None = None) -> str:
        """A tensor in another shape, given without the batch dimension."""
        return self.graph.add("Reshape", [tensor, self.graph.integers(-1, *shape)], output=output)


def begins_then_ends(padding: Sequence[tuple[int, int]]) -> list[int]:
    """Padding in ONNX's order."""
    return [begin for begin, _ in padding] + [end for _, end in padding]
