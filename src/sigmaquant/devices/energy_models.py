"""Two ways to know a device's energy: its power while it computes, or what each operation takes.

Or not to know it: then no plan has an energy, and none can be asked to keep a budget of it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from sigmaquant.artifact import Frozen
from sigmaquant.bitplan import ActivationBits, WeightBits
from sigmaquant.devices.evidence import Sourced, SourcedByWidth
from sigmaquant.devices.figures import Figure, PositiveFigure, Text


class IdlePower(Sourced):
    """Power between two samples, which no sample's energy contains."""

    mw: Figure


class PowerEnergy(Sourced):
    """Energy as active power times latency: the power is the same whatever is computed.

    Attributes:
        active_mw: while a network runs.
        idle: between two samples; None where it is not known.
    """

    model: Literal["power"]
    active_mw: PositiveFigure
    idle: IdlePower | None = None


class MacEnergy(SourcedByWidth):
    """Energy of one multiply-accumulate, by weight width."""

    pj_per_mac: dict[WeightBits, PositiveFigure]


class OpsEnergy(MacEnergy):
    """Energy as a sum over operations, for hardware whose datapath scales with the width.

    Attributes:
        at_activation_bits: figures of other activation widths; ``pj_per_mac`` holds at those that
            are not there.
        pj_per_weight_byte: for each stored weight byte, read once a layer from where weights are.
        pj_per_activation_byte: for each byte of a layer's input and output, moved once.
        static_mw: leakage and clock, for as long as the network runs.
    """

    model: Literal["ops"]
    at_activation_bits: dict[ActivationBits, MacEnergy] = pydantic.Field(default_factory=dict)
    pj_per_weight_byte: Figure
    pj_per_activation_byte: Figure
    static_mw: Figure

    def macs_at(self, activation_bits: int) -> MacEnergy:
        """The figures for one activation width."""
        return self.at_activation_bits.get(activation_bits, self)


class UnknownEnergy(Frozen):
    """A device whose energy nobody measured.

    Attributes:
        reason: such as that it has no counter.
    """

    model: Literal["unknown"]
    reason: Text


Energy = Annotated[PowerEnergy | OpsEnergy | UnknownEnergy, pydantic.Field(discriminator="model")]
