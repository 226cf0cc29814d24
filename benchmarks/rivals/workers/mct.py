"""Sony's Model Compression Toolkit: integer program over distances between feature maps.

Everything is left at MCT's defaults (power-of-two thresholds for activations, 32 images for the
distances), but for the widths: its platform description is extended from 2, 4 and 8 to 2 .. 8
bits, in the way its ``get_tpc`` documents.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import benchmarks.rivals.workers.torchvision_schemas  # noqa: F401  (before MCT)

# isort: split
import model_compression_toolkit as mct
import numpy as np
import numpy.typing as npt
from mct_quantizers import PytorchQuantizationWrapper
from model_compression_toolkit.core import runner
from model_compression_toolkit.core.common.quantization.quantization_params_generation import (
    qparams_computation,
)
from model_compression_toolkit.target_platform_capabilities import TargetPlatformCapabilities
from model_compression_toolkit.target_platform_capabilities.constants import (
    KERNEL_ATTR,
    WEIGHTS_N_BITS,
)
from model_compression_toolkit.target_platform_capabilities.tpc_models.imx500_tpc.v1_0 import tpc
from torch import nn

from benchmarks.rivals.workers.exchange import (
    WIDTHS,
    Answer,
    Clock,
    Samples,
    Task,
    accuracy_and_nll,
    weight_layers,
)
from benchmarks.rivals.workers.serving import serve

_BATCH = 32
# MCT chooses and quantizes in one call. These two of its functions serve the choice: the
# parameters of all candidate weights, and the search.
_ALLOCATING = ((qparams_computation, "get_weights_qparams"), (runner, "search_bit_width"))


def solve(task: Task) -> Iterator[Answer]:
    """One call of MCT a budget."""
    module, platform = task.module(), _platform()
    calibration, test = Samples.load(task.calibration), Samples.load(task.test)
    _, float_nll = accuracy_and_nll(module, calibration)
    weights = sum(layer.weight.numel() for layer in weight_layers(module).values())
    for budget_bits in task.budgets_bits:
        clock = Clock()
        _time_allocation(clock)
        with clock.stage("total"):
            quantized = _quantized(module, calibration, int(budget_bits * weights / 8), platform)
        accuracy, nll = accuracy_and_nll(quantized, test)
        allocate = clock.seconds["allocate"]
        yield Answer(
            budget_bits=budget_bits,
            weight_bits=_weight_bits(quantized),
            accuracy=accuracy,
            nll_nats=nll,
            float_nll_nats=float_nll,
            seconds={"allocate": allocate, "quantize": clock.seconds["total"] - allocate},
        )


def _platform() -> TargetPlatformCapabilities:
    base, _, default = tpc.get_op_quantization_configs()
    widths = [
        base.clone_and_edit(attr_to_edit={KERNEL_ATTR: {WEIGHTS_N_BITS: bits}})
        for bits in sorted(WIDTHS, reverse=True)
    ]
    return tpc.generate_tpc(default, base, widths, "weights of 2 to 8 bits")


def _quantized(
    module: nn.Module, calibration: Samples, weight_bytes: int, platform: TargetPlatformCapabilities
) -> nn.Module:
    def representative() -> Iterator[list[npt.NDArray[np.float32]]]:
        for inputs, _ in calibration.batches(_BATCH):
            yield [inputs.numpy()]

    quantized, _ = mct.ptq.pytorch_post_training_quantization(
        module,
        representative,
        mct.core.ResourceUtilization(weights_memory=weight_bytes),
        mct.core.CoreConfig(mixed_precision_config=mct.core.MixedPrecisionQuantizationConfig()),
        platform,
    )
    return quantized


def _weight_bits(quantized: nn.Module) -> dict[str, int]:
    return {
        name: layer.weights_quantizers["weight"].num_bits
        for name, layer in quantized.named_modules()
        if isinstance(layer, PytorchQuantizationWrapper)
    }


def _time_allocation(clock: Clock) -> None:
    """Count the time of what serves the choice to the stage "allocate" of this clock."""
    clock.seconds["allocate"] = 0.0
    for holder, name in _ALLOCATING:
        function = getattr(holder, name)
        original = getattr(function, "__wrapped__", function)
        setattr(holder, name, _timed(original, clock))


def _timed(function: Callable[..., Any], clock: Clock) -> Callable[..., Any]:
    @functools.wraps(function)
    def timed(*args: Any, **options: Any) -> Any:
        begin = time.perf_counter()
        try:
            return function(*args, **options)
        finally:
            clock.seconds["allocate"] += time.perf_counter() - begin

    return timed


if __name__ == "__main__":
    serve(solve)
