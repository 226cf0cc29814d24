"""A library's outputs beside those of the reference, wherever it ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sigmaquant.artifact import Frozen
from sigmaquant.errors import VerificationError

Array = npt.NDArray[Any]


class Comparison(Frozen):
    """What was compared.

    Attributes:
        samples: inputs that were run.
        values: output values.
        differing: how many of them differ in any bit.
        largest_difference: in the outputs' unit.
    """

    samples: int
    values: int
    differing: int
    largest_difference: float


def compared(
    actual: Mapping[str, Array], expected: Mapping[str, Array], tolerance: float
) -> Comparison:
    """Compare the outputs by name: (batch, *shape) float32.

    Args:
        actual: what the library computes.
        expected: what the integer reference computes.
        tolerance: largest difference that is allowed; 0 where every bit has to agree.

    Raises:
        VerificationError: an output differs by more; names it.
    """
    largest = 0.0
    for name, array in actual.items():
        difference = float(np.abs(array - expected[name]).max(initial=0.0))
        largest = max(largest, difference)
        wrong = differing_values(array, expected[name])
        if wrong and not 0.0 < difference <= tolerance:
            raise VerificationError(
                f"output {name!r} differs from the integer reference in {wrong} of {array.size} "
                f"values, by {difference:g} at most"
            )
    return Comparison(
        samples=len(next(iter(actual.values()))),
        values=sum(array.size for array in actual.values()),
        differing=sum(differing_values(array, expected[name]) for name, array in actual.items()),
        largest_difference=largest,
    )


def differing_values(actual: Array, expected: Array) -> int:
    """How many values differ in any bit."""
    assert actual.dtype == expected.dtype, (actual.dtype, expected.dtype)
    bits = np.dtype(f"u{actual.itemsize}")
    wanted = np.ascontiguousarray(expected).view(bits)
    return int(np.count_nonzero(np.ascontiguousarray(actual).view(bits) != wanted))
