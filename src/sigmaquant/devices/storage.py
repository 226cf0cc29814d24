"""How many bits a value of each width takes in memory: its own width, or a container's."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Self

import pydantic

from sigmaquant.bitplan import ActivationBits, WeightBits
from sigmaquant.devices.evidence import Sourced, SourcedByWidth
from sigmaquant.layers import container_bits

_BYTE = 8


class Container(StrEnum):
    """What a device keeps weights in."""

    DENSE = "dense"
    """Each width takes its own bits."""
    POWER_OF_TWO = "power of two"
    """Fields of 2, 4 or 8 bits."""
    INT8 = "int8"
    """A byte, whatever the width."""
    ENTROPY = "entropy"
    """Compressed: narrow grids have little entropy, wherever they are stored."""
    OTHER = "other"
    """None of these."""


class WeightStorage(SourcedByWidth):
    """Bits that a weight of each width takes in flash.

    Attributes:
        bits: by weight width; a mean over weights where they are compressed.
        compressed: weights are entropy coded, so that they may take less than their width.
    """

    bits: dict[WeightBits, Annotated[float, pydantic.Field(ge=0.5, le=16, allow_inf_nan=False)]]
    compressed: bool = False

    @property
    def container(self) -> Container:
        """What the bits amount to."""
        if self.compressed:
            return Container.ENTROPY
        widths = self.bits
        for container, expected in (
            (Container.DENSE, {width: width for width in widths}),
            (Container.POWER_OF_TWO, {width: container_bits(width) for width in widths}),
            (Container.INT8, dict.fromkeys(widths, _BYTE)),
        ):
            if self.bits == expected:
                return container
        return Container.OTHER

    @pydantic.model_validator(mode="after")
    def _container_holds_the_value(self) -> Self:
        if not self.compressed:
            _reject_narrow_containers(self.bits)
        return self


class ActivationStorage(Sourced):
    """Bits that an activation of each width takes in RAM."""

    bits: dict[ActivationBits, Annotated[int, pydantic.Field(ge=2, le=16)]]

    @pydantic.model_validator(mode="after")
    def _container_holds_the_value(self) -> Self:
        _reject_narrow_containers(self.bits)
        return self


class Memory(Sourced):
    """Sizes of the memories; None where a size is not known and no limit follows."""

    flash_bytes: pydantic.PositiveInt | None = None
    ram_bytes: pydantic.PositiveInt | None = None


class Reserve(Sourced):
    """Memory that a network cannot have.

    Attributes:
        flash_bytes: code.
        ram_bytes: stack and scratch.
        weight_scratch_bytes: the part of ``ram_bytes`` that one layer's weights may be unpacked
            to; 0 where the software has no kernels that do so.
    """

    flash_bytes: pydantic.NonNegativeInt
    ram_bytes: pydantic.NonNegativeInt
    weight_scratch_bytes: pydantic.NonNegativeInt = 0

    @pydantic.model_validator(mode="after")
    def _scratch_is_reserved(self) -> Self:
        if self.weight_scratch_bytes > self.ram_bytes:
            raise ValueError(
                f"weight_scratch_bytes is a part of ram_bytes, but {self.weight_scratch_bytes:,} "
                f"is more than {self.ram_bytes:,}"
            )
        return self


def _reject_narrow_containers(bits: Mapping[int, float]) -> None:
    narrow = [(width, stored) for width, stored in bits.items() if stored < width]
    if narrow:
        width, stored = narrow[0]
        raise ValueError(f"a value of {width} bits does not fit into {stored:g} bits")
