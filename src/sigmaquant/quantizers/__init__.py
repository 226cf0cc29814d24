"""Arithmetic of quantization on plain tensors: scales, rounding, learned step sizes.

Nothing here knows of networks. Weights are signed and symmetric with one scale an output channel;
activations are affine with one scale a tensor.
"""

from sigmaquant.quantizers.affine import AffineRange, fake_quantize
from sigmaquant.quantizers.fitting import (
    ROUNDING_TURNS,
    fitted_levels,
    realigned_rows,
    starting_scales,
)
from sigmaquant.quantizers.ranges import best_range
from sigmaquant.quantizers.rounding import MomentFactor, compensated_levels, nearest_levels
from sigmaquant.quantizers.scales import least_scales, level_bounds, weight_scales

__all__ = [
    "ROUNDING_TURNS",
    "AffineRange",
    "MomentFactor",
    "best_range",
    "compensated_levels",
    "fake_quantize",
    "fitted_levels",
    "least_scales",
    "level_bounds",
    "nearest_levels",
    "realigned_rows",
    "starting_scales",
    "weight_scales",
]
