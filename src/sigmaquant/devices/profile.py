"""What is known of a device: the schema of a profile file, figures with units and evidence."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Annotated, Literal, Self

import pydantic

from sigmaquant.artifact import Frozen
from sigmaquant.bitplan import ActivationBits, WeightBits
from sigmaquant.devices.evidence import Sourced, SourcedByWidth
from sigmaquant.layers import LayerKind

Text = Annotated[str, pydantic.Field(min_length=1)]
Figure = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
PositiveFigure = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
StoredBits = Annotated[int, pydantic.Field(ge=2, le=16)]


class Clock(Sourced):
    """Clock of the processor."""

    mhz: PositiveFigure


class Memory(Sourced):
    """Sizes of the memories; None where a size is not known and no limit follows."""

    flash_bytes: pydantic.PositiveInt | None = None
    ram_bytes: pydantic.PositiveInt | None = None


class Reserve(Sourced):
    """Memory that a network cannot have: code in flash; stack and scratch in RAM."""

    flash_bytes: pydantic.NonNegativeInt
    ram_bytes: pydantic.NonNegativeInt


class WeightStorage(SourcedByWidth):
    """Bits that a weight of each width takes in flash: its width, or a wider container."""

    bits: dict[WeightBits, StoredBits]

    @pydantic.model_validator(mode="after")
    def _container_holds_the_value(self) -> Self:
        _reject_narrow_containers(self.bits)
        return self


class ActivationStorage(Sourced):
    """Bits that an activation of each width takes in RAM."""

    bits: dict[ActivationBits, StoredBits]

    @pydantic.model_validator(mode="after")
    def _container_holds_the_value(self) -> Self:
        _reject_narrow_containers(self.bits)
        return self


class KernelCycles(SourcedByWidth):
    """Cycles of one operator kind: a sum over what its kernel does.

    Attributes:
        cycles_per_mac: by weight width; dot products are counted in whole blocks.
        dot_product_block: the kernel pads each dot product to a multiple of this.
        cycles_per_patch_element: for each input value gathered for a dot product (im2col).
        cycles_per_output: for each output value: bias, requantization, store.
        cycles_per_weight: by weight width, for weights unpacked to RAM once a layer; empty where
            the kernel unpacks in registers, within ``cycles_per_mac``.
        cycles_per_layer: for each call.
    """

    cycles_per_mac: dict[WeightBits, PositiveFigure]
    dot_product_block: pydantic.PositiveInt = 1
    cycles_per_patch_element: Figure = 0.0
    cycles_per_output: Figure = 0.0
    cycles_per_weight: dict[WeightBits, Figure] = pydantic.Field(default_factory=dict)
    cycles_per_layer: Figure = 0.0


class WeightFetch(Sourced):
    """Cycles to bring stored weights from flash, each byte once a layer."""

    cycles_per_byte: Figure


class ElementCycles(Sourced):
    """Cycles for each value that an operator without weights handles."""

    cycles_per_element: Figure


class CyclesModel(Frozen):
    """Latency as processor cycles, by operator kind.

    Attributes:
        kernels: operators with weights.
        weight_fetch: on top of every kernel.
        other_operators: quantized operators without weights: add, pool, concat.
        float_operators: operators that stay float32.
    """

    model: Literal["cycles"]
    kernels: dict[LayerKind, KernelCycles]
    weight_fetch: WeightFetch
    other_operators: ElementCycles
    float_operators: ElementCycles


class PowerEnergy(Sourced):
    """Energy as active power times latency: the power is the same whatever is computed."""

    model: Literal["power"]
    active_mw: PositiveFigure


class OpsEnergy(SourcedByWidth):
    """Energy as a sum over operations, for hardware whose datapath scales with the width.

    Attributes:
        pj_per_mac: by weight width.
        pj_per_weight_byte: for each stored weight byte, read once a layer.
        pj_per_activation_byte: for each byte of a layer's input and output, moved once.
        static_mw: leakage and clock, for as long as the network runs.
    """

    model: Literal["ops"]
    pj_per_mac: dict[WeightBits, PositiveFigure]
    pj_per_weight_byte: Figure
    pj_per_activation_byte: Figure
    static_mw: Figure


Energy = Annotated[PowerEnergy | OpsEnergy, pydantic.Field(discriminator="model")]
SupportedActivations = Annotated[tuple[ActivationBits, ...], pydantic.Field(min_length=1)]
SupportedWidths = Annotated[dict[WeightBits, SupportedActivations], pydantic.Field(min_length=1)]


class DeviceProfile(Frozen):
    """One device with one software stack: the stack alone moves latency by a factor of two.

    Attributes:
        name: what users call it.
        title: the part, in words.
        core: processor or datapath.
        stack: the kernels that the figures are of.
        notes: what a user has to know before trusting the figures.
        supports: activation widths that run, by operator kind and weight width.
    """

    name: Text
    title: Text
    core: Text
    stack: Text
    notes: str = ""
    clock: Clock
    memory: Memory
    reserve: Reserve
    supports: Annotated[dict[LayerKind, SupportedWidths], pydantic.Field(min_length=1)]
    weight_storage: WeightStorage
    activation_storage: ActivationStorage
    latency: CyclesModel
    energy: Energy

    @property
    def usable_flash_bytes(self) -> int | None:
        """Flash left for a network; None where the size is not known."""
        return _less(self.memory.flash_bytes, self.reserve.flash_bytes)

    @property
    def widths(self) -> tuple[int, ...]:
        """Weight widths that some operator runs at, ascending."""
        return tuple(sorted({bits for widths in self.supports.values() for bits in widths}))

    @pydantic.model_validator(mode="after")
    def _figures_cover_what_is_supported(self) -> Self:
        for kind, widths in self.supports.items():
            if kind not in self.latency.kernels:
                raise ValueError(f"there is no latency.kernels.{kind}, though supports.{kind} is")
            activation_widths = {bits for choices in widths.values() for bits in choices}
            for name, figures in self._figures_by_weight_width(kind).items():
                _require(widths, figures, name, kind)
            stored = self.activation_storage.bits
            _require(activation_widths, stored, "activation_storage.bits", kind)
        return self

    def _figures_by_weight_width(self, kind: LayerKind) -> dict[str, Container[int]]:
        """Every table that a layer of this kind reads at its weight width, by its place."""
        kernel = self.latency.kernels[kind]
        figures: dict[str, Container[int]] = {
            "weight_storage.bits": self.weight_storage.bits,
            f"latency.kernels.{kind}.cycles_per_mac": kernel.cycles_per_mac,
        }
        if kernel.cycles_per_weight:
            figures[f"latency.kernels.{kind}.cycles_per_weight"] = kernel.cycles_per_weight
        if isinstance(self.energy, OpsEnergy):
            figures["energy.pj_per_mac"] = self.energy.pj_per_mac
        return figures


def _less(size: int | None, reserve: int) -> int | None:
    return None if size is None else max(0, size - reserve)


def _reject_narrow_containers(bits: dict[int, int]) -> None:
    narrow = [(width, stored) for width, stored in bits.items() if stored < width]
    if narrow:
        width, stored = narrow[0]
        raise ValueError(f"a value of {width} bits does not fit into {stored} bits")


def _require(widths: Iterable[int], figures: Container[int], name: str, kind: LayerKind) -> None:
    missing = sorted(bits for bits in widths if bits not in figures)
    if missing:
        listed = ", ".join(map(str, missing))
        raise ValueError(f"{name} lacks {listed} bits, which supports.{kind} asks for")
