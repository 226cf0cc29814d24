"""The answer: how many bits each layer's weights and each precision group's activations get."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Self

import pydantic

from sigmaquant.artifact import Artifact
from sigmaquant.errors import ArtifactError
from sigmaquant.layers import LayerTable

WeightBits = Annotated[int, pydantic.Field(ge=2, le=8)]
ActivationBits = Annotated[int, pydantic.Field(ge=2, le=16)]


class BitPlan(Artifact):
    """Weight width of each layer, activation width of each precision group.

    Activation widths belong to precision groups, not to layers: what several layers read has one
    width, and a plan that said otherwise could not be run.

    Attributes:
        weight_bits: by layer name.
        activation_bits: by precision group.
        origin: what made the plan, such as "greedy" or "uniform 4".
    """

    weight_bits: dict[str, WeightBits]
    activation_bits: dict[str, ActivationBits]
    origin: str = "manual"

    @classmethod
    def uniform(cls, table: LayerTable, weight_bits: int, activation_bits: int = 8) -> Self:
        """The same width everywhere."""
        return cls(
            weight_bits={layer.name: weight_bits for layer in table.layers},
            activation_bits=dict.fromkeys(table.groups, activation_bits),
            origin=f"uniform {weight_bits}",
        )

    def with_weight_bits(self, changes: Mapping[str, int], origin: str | None = None) -> Self:
        """A copy with some layers changed."""
        return type(self)(
            weight_bits={**self.weight_bits, **changes},
            activation_bits=self.activation_bits,
            origin=origin or self.origin,
        )

    def differing(self, other: BitPlan) -> tuple[frozenset[str], frozenset[str]]:
        """Layers, and precision groups, that another plan of the same network gives other widths.

        >>> plan = BitPlan(weight_bits={"a": 2, "b": 4}, activation_bits={"x": 8})
        >>> plan.differing(plan.with_weight_bits({"b": 3}))
        (frozenset({'b'}), frozenset())
        """
        return (
            _differing(self.weight_bits, other.weight_bits),
            _differing(self.activation_bits, other.activation_bits),
        )

    def mean_weight_bits(self, table: LayerTable) -> float:
        """Bits a weight, averaged over all weights of the network."""
        return sum(layer.weights * self.weight_bits[layer.name] for layer in table.layers) / (
            table.weights
        )

    def missing_from(self, table: LayerTable) -> Iterable[str]:
        """Layers and groups of the table that the plan says nothing about."""
        yield from (la.name for la in table.layers if la.name not in self.weight_bits)
        yield from (group for group in table.groups if group not in self.activation_bits)

    def check_covers(self, table: LayerTable) -> None:
        """Check that the plan can be applied to a network.

        Raises:
            ArtifactError: it says nothing about a layer or group of the network.
        """
        missing = list(self.missing_from(table))
        if missing:
            raise ArtifactError(
                f"the plan does not cover {', '.join(missing[:5])} of {table.network}; it was made "
                "for another network, search again"
            )


def _differing(own: Mapping[str, int], other: Mapping[str, int]) -> frozenset[str]:
    return frozenset(name for name, bits in own.items() if bits != other[name])
