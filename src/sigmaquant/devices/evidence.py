"""How a figure is known: every figure of a profile says it, and every cost passes it on."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import pydantic

from sigmaquant.artifact import Frozen
from sigmaquant.bitplan import WeightBits


class Evidence(StrEnum):
    """What stands behind a figure, the strongest first."""

    MEASURED = "measured"
    """On the real device."""
    EMULATED = "emulated"
    """By running real kernels on a model of the processor."""
    DERIVED = "derived"
    """Calculated from measured, emulated or published figures, or from a format's definition."""
    ESTIMATED = "estimated"
    """An assumption, an interpolation, or a figure of other hardware."""


def weakest(*kinds: Evidence) -> Evidence:
    """What a result that uses figures of all these kinds is worth.

    >>> weakest(Evidence.MEASURED, Evidence.DERIVED, Evidence.EMULATED).value
    'derived'
    """
    return max(kinds, key=list(Evidence).index)


class Sourced(Frozen):
    """A table of figures that says where they come from.

    Attributes:
        source: publication, measurement or reasoning behind the figures.
        kind: how strong that is.
    """

    source: Annotated[str, pydantic.Field(min_length=1)]
    kind: Evidence


class SourcedByWidth(Sourced):
    """A table whose evidence may differ between weight widths.

    Attributes:
        width_kinds: the widths for which ``kind`` does not hold, such as interpolated ones.
    """

    width_kinds: dict[WeightBits, Evidence] = pydantic.Field(default_factory=dict)

    def kind_at(self, weight_bits: int) -> Evidence:
        """The evidence behind the figures of one weight width."""
        return self.width_kinds.get(weight_bits, self.kind)
