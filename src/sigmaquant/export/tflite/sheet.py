"""What the writers of operators share: the graph so far and where each value is in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.tflite.flatfile import FLOAT32, INT8, Quantization
from sigmaquant.export.tflite.graph import GraphBuilder
from sigmaquant.export.tflite.layout import Layout, channels_last, plain
from sigmaquant.export.tflite.options import MicroOptions, TfliteOptions
from sigmaquant.lowering.program import Encoding, IntegerProgram, Value

LOWEST = int(np.iinfo(np.int8).min)
"""What an integer of 0 is in the file: uint8 minus 128 is int8."""
_HIGHEST = int(np.iinfo(np.int8).max)
_ACTIVATION_BITS = range(1, 9)
_IMAGE_RANK = 3  # without the batch


@dataclass(frozen=True)
class Place:
    """The tensor that a value was written to, and how it is stored there."""

    tensor: int
    layout: Layout


@dataclass(frozen=True)
class ValueTable:
    """Weights as indices of ``bits`` bits into a table of values for each index of ``axis``."""

    bits: int
    axis: int


@dataclass(frozen=True)
class Sheet:
    """What the writers write on.

    Attributes:
        graph: tensors and operators so far.
        program: what is exported.
        options: what the file shall look like.
        places: where each value was written; ``tensor`` gives it in other layouts.
        tables: weights that TensorFlow Lite Micro looks up, by tensor.
    """

    graph: GraphBuilder
    program: IntegerProgram
    options: TfliteOptions | MicroOptions
    places: dict[str, Place] = field(default_factory=dict)
    tables: dict[int, ValueTable] = field(default_factory=dict)
    _views: dict[tuple[int, Layout], int] = field(default_factory=dict)

    def value(self, name: str) -> Value:
        """The record of a value."""
        return self.program.values[name]

    def encoding(self, name: str) -> Encoding:
        """The encoding of a quantized value.

        Raises:
            UnsupportedError: more bits than an int8 holds.
        """
        encoding = self.value(name).encoding
        assert encoding is not None, f"{name} is float where integers are needed"
        if encoding.bits not in _ACTIVATION_BITS:
            raise UnsupportedError(
                f"value {name!r} has {encoding.bits} bits; TensorFlow Lite's int8 kernels take "
                "1 to 8"
            )
        return encoding

    def quantization(self, name: str) -> Quantization | None:
        """Scale and zero point of a value's tensor; None where it is float."""
        if self.value(name).encoding is None:
            return None
        encoding = self.encoding(name)
        return Quantization((encoding.scale,), encoding.zero_point + LOWEST)

    def interface_layout(self, name: str) -> Layout:
        """How the file shows an input or output."""
        rank = len(self.value(name).shape)
        wanted = self.options.channels_last and rank == _IMAGE_RANK
        return channels_last(rank) if wanted else plain(rank)

    def layout(self, name: str) -> Layout:
        """How a value is stored where it was written."""
        return self.places[name].layout

    def tensor(self, name: str, layout: Layout | None = None) -> int:
        """A value's tensor, rearranged where it was written in another layout than asked for."""
        place = self.places[name]
        if layout is None or layout == place.layout:
            return place.tensor
        key = (place.tensor, layout)
        if key not in self._views:
            self._views[key] = self._rearranged(name, place, layout)
        return self._views[key]

    def _rearranged(self, name: str, place: Place, layout: Layout) -> int:
        """TRANSPOSE where dimensions change their order, RESHAPE where only ones come or go."""
        shape, tensor, stored = self.value(name).shape, place.tensor, place.layout
        if stored.moves(shape) != layout.moves(shape):
            if None in stored.axes:
                stored = Layout(stored.order)
                tensor = self.reshaped(tensor, stored.shape(shape))
            order = [0, *(stored.place(axis) for axis in layout.order)]
            stored = Layout(layout.order)
            tensor = self.graph.add(
                "TRANSPOSE",
                [tensor, self.graph.integers(order)],
                self.like(tensor, stored.shape(shape)),
            )
        if stored.shape(shape) != layout.shape(shape):
            tensor = self.reshaped(tensor, layout.shape(shape))
        return tensor

    def reshaped(self, tensor: int, shape: Sequence[int]) -> int:
        """A tensor in another shape, given without the batch dimension."""
        inputs = [tensor, self.graph.integers([-1, *shape])]
        return self.graph.add("RESHAPE", inputs, self.like(tensor, shape), newShape=[-1, *shape])

    def like(self, tensor: int, shape: Sequence[int]) -> int:
        """A new tensor without a name for the same numbers in another shape, without batch."""
        record = self.graph.record(tensor)
        return self.graph.tensor("", (1, *shape), record.kind, record.quantization)

    def keep(self, name: str, tensor: int, layout: Layout) -> None:
        """Remember where a value was written."""
        self.places[name] = Place(tensor, layout)

    def fresh(self, name: str, layout: Layout) -> int:
        """A new tensor for a value."""
        value = self.value(name)
        kind = FLOAT32 if value.encoding is None else INT8
        shape = (1, *layout.shape(value.shape))
        return self.graph.tensor(value.name, shape, kind, self.quantization(name))

    def moved(
        self, kind: str, inputs: Sequence[int], name: str, layout: Layout, **options: Any
    ) -> None:
        """Write a value with one operator that only moves or compares its numbers."""
        self.keep(name, self.graph.add(kind, inputs, self.fresh(name, layout), **options), layout)

    def computed(
        self, kind: str, inputs: Sequence[int], name: str, layout: Layout, **options: Any
    ) -> None:
        """Write a quantized value with one operator that reaches all of int8."""
        tensor = self.graph.add(kind, inputs, self.fresh(name, layout), **options)
        self.keep(name, self.limited(tensor, name, layout), layout)

    def limited(self, tensor: int, name: str, layout: Layout) -> int:
        """A tensor of all of int8 limited to the value's width.

        MINIMUM with a constant is exact; no kernel knows activations of fewer than 8 bits.
        """
        highest = self.encoding(name).highest + LOWEST
        if highest == _HIGHEST:
            return tensor
        limit = self.graph.constant(np.array([highest], np.int8), self.quantization(name))
        return self.graph.add("MINIMUM", [tensor, limit], self.fresh(name, layout))
