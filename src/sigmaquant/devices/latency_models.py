"""Two ways to know a device's time: cycles of its kernels, or what its units and memories can do.

Neither is a formula in bits: each width has its own figure, and fewer bits may well be slower.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import pydantic

from sigmaquant.artifact import Frozen
from sigmaquant.bitplan import ActivationBits, WeightBits
from sigmaquant.devices.evidence import Sourced, SourcedByWidth
from sigmaquant.devices.figures import Figure, PositiveFigure
from sigmaquant.layers import LayerKind


class MacCycles(SourcedByWidth):
    """Cycles of one multiply-accumulate, by weight width."""

    cycles_per_mac: dict[WeightBits, PositiveFigure]


class UnpackFirst(SourcedByWidth):
    """Another kernel for narrow weights: expand them to bytes in RAM, then run the one for 8 bits.

    It is taken where it is faster and the profile reserves scratch for the whole layer.

    Attributes:
        cycles_per_weight: by weight width, once a use of the layer.
    """

    cycles_per_weight: dict[WeightBits, Figure]


class KernelCycles(MacCycles):
    """Cycles of one operator kind: a sum over what its kernel does.

    Attributes:
        cycles_per_mac: by weight width; dot products are counted in whole blocks.
        cycles_per_tail_mac: by weight width, of those behind the last whole block; empty where
            the kernel fills dot products up to whole blocks.
        cycles_per_odd_row_mac: by weight width, of the last filter, where filters are computed in
            pairs and their number is odd; empty: as of all.
        cycles_per_other_window_mac: of depthwise convolutions that are not 3 x 3; None: as of all.
        dot_product_block: length of the pieces in which the kernel computes dot products.
        tail_block: by weight width, length of the pieces behind the last whole block: as many
            weights as a word holds; 1 where nothing is said.
        places_at_once: output places that are computed at once; a part of them takes as long.
        cycles_per_patch_element: for each input value gathered for a dot product (im2col).
        cycles_per_patch_row: for each row of the kernel's window at each output place.
        cycles_per_unaligned_row: on top for those whose values are no whole fours.
        cycles_per_output: for each output value: bias, requantization, store.
        cycles_per_float_output: for those that stay float32; None: as for all.
        cycles_per_weight: by weight width, for weights unpacked to RAM once a layer; empty where
            the kernel unpacks in registers, within ``cycles_per_mac``.
        cycles_per_layer: for each call.
        at_activation_bits: figures of other activation widths; ``cycles_per_mac`` holds at those
            that are not there.
        unpack_first: an alternative kernel, if there is one.
    """

    cycles_per_tail_mac: dict[WeightBits, Figure] = pydantic.Field(default_factory=dict)
    cycles_per_odd_row_mac: dict[WeightBits, Figure] = pydantic.Field(default_factory=dict)
    cycles_per_other_window_mac: Figure | None = None
    dot_product_block: pydantic.PositiveInt = 1
    tail_block: dict[WeightBits, pydantic.PositiveInt] = pydantic.Field(default_factory=dict)
    places_at_once: pydantic.PositiveInt = 1
    cycles_per_patch_element: Figure = 0.0
    cycles_per_patch_row: Figure = 0.0
    cycles_per_unaligned_row: Figure = 0.0
    cycles_per_output: Figure = 0.0
    cycles_per_float_output: Figure | None = None
    cycles_per_weight: dict[WeightBits, Figure] = pydantic.Field(default_factory=dict)
    cycles_per_layer: Figure = 0.0
    at_activation_bits: dict[ActivationBits, MacCycles] = pydantic.Field(default_factory=dict)
    unpack_first: UnpackFirst | None = None

    def macs_at(self, activation_bits: int) -> MacCycles:
        """The figures for one activation width."""
        return self.at_activation_bits.get(activation_bits, self)

    def output_cycles(self, outputs: float, is_float: bool) -> float:
        """Of so many output values."""
        own = self.cycles_per_float_output if is_float else None
        return outputs * (self.cycles_per_output if own is None else own)


class WeightFetch(Sourced):
    """Cycles to bring stored weights from flash, each byte once a layer."""

    cycles_per_byte: Figure


class ElementCycles(Sourced):
    """Cycles for each value that an operator without weights handles, and for each call.

    Attributes:
        cycles_per_element: of operators that ``by_operator`` does not name.
        by_operator: the same of those that it names as the schedule does, such as "add".
        cycles_per_call: of all.
    """

    cycles_per_element: Figure
    by_operator: dict[str, Figure] = pydantic.Field(default_factory=dict)
    cycles_per_call: Figure = 0.0

    def cycles(self, operator: str, elements: int) -> float:
        """Of one operator on so many values."""
        each = self.by_operator.get(operator, self.cycles_per_element)
        return elements * each + self.cycles_per_call


class StartCycles(Sourced):
    """Cycles that a sample takes before and after anything of the network runs."""

    cycles_per_sample: Figure


class CyclesModel(Frozen):
    """Latency as processor cycles, by operator kind.

    Attributes:
        kernels: operators with weights.
        weight_fetch: on top of every kernel.
        other_operators: quantized operators without weights: add, pool, concat.
        float_operators: operators that stay float32.
        start: once for each sample; None where nothing is known of it.
    """

    model: Literal["cycles"]
    kernels: dict[LayerKind, KernelCycles]
    weight_fetch: WeightFetch
    other_operators: ElementCycles
    float_operators: ElementCycles
    start: StartCycles | None = None

    def tables(self, kind: LayerKind, activation_bits: int) -> dict[str, Mapping[int, float]]:
        """Tables that a layer of this kind reads at its weight width, by their place."""
        kernel = self.kernels[kind]
        place = f"latency.kernels.{kind}"
        found = {
            f"{place}{_nested(kernel.at_activation_bits, activation_bits)}.cycles_per_mac": (
                kernel.macs_at(activation_bits).cycles_per_mac
            )
        }
        if kernel.cycles_per_weight:
            found[f"{place}.cycles_per_weight"] = kernel.cycles_per_weight
        if kernel.cycles_per_tail_mac:
            found[f"{place}.cycles_per_tail_mac"] = kernel.cycles_per_tail_mac
        return dict(found)


class MacRates(SourcedByWidth):
    """Multiply-accumulates a second, by weight width."""

    gmac_per_s: dict[WeightBits, PositiveFigure]


class KindRates(MacRates):
    """Rates of one operator kind.

    Attributes:
        at_activation_bits: rates at other activation widths; ``gmac_per_s`` holds at those that
            are not there.
    """

    at_activation_bits: dict[ActivationBits, MacRates] = pydantic.Field(default_factory=dict)

    def macs_at(self, activation_bits: int) -> MacRates:
        """The rates for one activation width."""
        return self.at_activation_bits.get(activation_bits, self)


class Bandwidth(Sourced):
    """Speed of a memory."""

    gb_per_s: PositiveFigure


class Overhead(Sourced):
    """Time that no layer's size explains.

    Attributes:
        network_ms: once for each sample.
        layer_us: for each use of a layer.
    """

    network_ms: Figure
    layer_us: Figure = 0.0


class RooflineModel(Frozen):
    """Latency by the roofline: a layer takes as long as its arithmetic, or its data if longer.

    Williams, Waterman and Patterson, CACM 2009. Operators without weights are bound by data alone.

    Attributes:
        rates: of the arithmetic, by operator kind.
        weight_bandwidth: at which stored weights arrive.
        activation_bandwidth: at which inputs and outputs of layers move.
        operator_bandwidth: at which operators without weights move theirs; None: the same.
        overhead: on top.
    """

    model: Literal["roofline"]
    rates: dict[LayerKind, KindRates]
    weight_bandwidth: Bandwidth
    activation_bandwidth: Bandwidth
    operator_bandwidth: Bandwidth | None = None
    overhead: Overhead

    def tables(self, kind: LayerKind, activation_bits: int) -> dict[str, Mapping[int, float]]:
        """Tables that a layer of this kind reads at its weight width, by their place."""
        rates = self.rates[kind]
        place = f"latency.rates.{kind}{_nested(rates.at_activation_bits, activation_bits)}"
        return {f"{place}.gmac_per_s": rates.macs_at(activation_bits).gmac_per_s}


Latency = Annotated[CyclesModel | RooflineModel, pydantic.Field(discriminator="model")]


def _nested(at_activation_bits: Mapping[int, object], activation_bits: int) -> str:
    own = activation_bits in at_activation_bits
    return f".at_activation_bits.{activation_bits}" if own else ""
