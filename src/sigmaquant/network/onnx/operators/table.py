"""Every ONNX operator that can be imported."""

from __future__ import annotations

from sigmaquant.network.onnx.call import Builder
from sigmaquant.network.onnx.operators import (
    activations,
    arithmetic,
    constants,
    convolution,
    linear,
    normalisation,
    pooling,
    quantization,
    recurrent,
    shapes,
    spatial,
)

OPERATORS: dict[str, Builder] = {
    **activations.BUILDERS,
    **arithmetic.BUILDERS,
    **constants.BUILDERS,
    **convolution.BUILDERS,
    **linear.BUILDERS,
    **normalisation.BUILDERS,
    **pooling.BUILDERS,
    **quantization.BUILDERS,
    **recurrent.BUILDERS,
    **shapes.BUILDERS,
    **spatial.BUILDERS,
}
"""By name in the standard domain, for opsets 11 to 21."""
