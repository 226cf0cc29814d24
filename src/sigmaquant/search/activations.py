"""Which widths activations can have, and which of their scores count.

The *native* width is what the device computes in unless another one gains something: 8 bits, or
what is nearest to it. Activations leave it only for a gain that is no noise. In expectation a
narrower activation is never better than a wider one, so from the native width down each width
counts as worse than the next wider one, by a trifle where the scores say otherwise. A wider one
than the native counts as better only by more than the standard error of the difference. So at a tie
of all that counts, activations stay at the native width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sigmaquant.costs.table import CostTable
from sigmaquant.errors import DeviceError
from sigmaquant.scores import Score

TRIFLE = 1e-9
"""The trifle as a share of what all scores together span: ten times a solver's tolerance."""


def same_activations(costs: CostTable, bits: int) -> dict[str, int]:
    """One activation width for every precision group of the network.

    Raises:
        DeviceError: the device does not store activations of that width.
    """
    if bits not in costs.activation_storage_bits:
        stored = ", ".join(str(b) for b in sorted(costs.activation_storage_bits))
        raise DeviceError(
            f"{costs.device} does not store activations of {bits} bits; it stores {stored}"
        )
    return dict.fromkeys(costs.groups, bits)


def offered_activations(
    costs: CostTable, activation_bits: int | None
) -> dict[str, tuple[int, ...]]:
    """The widths that each precision group can have, ascending: one only where it is given.

    Raises:
        DeviceError: the device does not store that width, or the layers that read a group have no
            width in common.
    """
    if activation_bits is not None:
        same = same_activations(costs, activation_bits)
        return {group: (bits,) for group, bits in same.items()}
    offered = {group: costs.activation_widths(group) for group in costs.groups}
    for group, widths in offered.items():
        if not widths:
            readers = [layer for layer, groups in costs.input_groups.items() if group in groups]
            raise DeviceError(
                f"{costs.device} has no activation width at which all of {', '.join(readers)} run, "
                f"which read the same activations"
            )
    return offered


def native_width(widths: Sequence[int], native: int) -> int:
    """The native width of one group: the device's, or the next wider that it has, or its widest.

    >>> native_width((2, 4, 16), 8)
    16
    """
    return next((bits for bits in sorted(widths) if bits >= native), max(widths))


def settled(scores: Mapping[int, Score], native: int, trifle: float) -> dict[int, float]:
    """The rise that each width of a group counts with.

    Args:
        scores: by width.
        native: one of the widths.
        trifle: what a tie with the native width costs.

    >>> settled({4: Score(rise=0.5), 6: Score(rise=0.1), 8: Score(rise=0.25)}, 8, 0.125)
    {4: 0.5, 6: 0.375, 8: 0.25}
    """
    own = scores[native]
    rises = {native: own.rise}
    least = own.rise
    for bits in sorted((bits for bits in scores if bits < native), reverse=True):
        least = rises[bits] = max(scores[bits].rise, least + trifle)
    for bits in (bits for bits in scores if bits > native):
        error = math.hypot(scores[bits].standard_error, own.standard_error)
        gains = own.rise - scores[bits].rise > error
        rises[bits] = scores[bits].rise if gains else own.rise + trifle
    return dict(sorted(rises.items()))
