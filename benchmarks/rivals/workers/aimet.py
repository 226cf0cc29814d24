"""Qualcomm AIMET: lowers widths greedily for as long as the accuracy stays near the float one.

It takes no byte budget. Its quantizers and its search are left at their defaults; the accuracy is
measured on the calibration samples and may fall by one point.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import benchmarks.rivals.workers.torchvision_schemas  # noqa: F401  (before AIMET)

# isort: split
import torch
from aimet_torch.common.defs import CallbackFunc, QuantizationDataType
from aimet_torch.mixed_precision import choose_mixed_precision
from aimet_torch.model_preparer import prepare_model
from aimet_torch.quantsim import QuantizationSimModel
from torch import nn

from benchmarks.rivals.workers.exchange import (
    ACTIVATION_BITS,
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
_ALLOWED_DROP = 0.01


def solve(task: Task) -> Iterator[Answer]:
    """One answer, whatever the budgets."""
    calibration, test = Samples.load(task.calibration), Samples.load(task.test)
    _, float_nll = accuracy_and_nll(task.module(), calibration)
    clock = Clock()
    with clock.stage("quantize"):
        simulation = QuantizationSimModel(
            prepare_model(task.module()),
            dummy_input=calibration.inputs[:1],
            default_output_bw=ACTIVATION_BITS,
            default_param_bw=max(WIDTHS),
        )
        simulation.compute_encodings(lambda model, _: _run(model, calibration), None)
    with clock.stage("allocate"):
        _allocate(simulation, calibration)
    accuracy, nll = accuracy_and_nll(simulation.model, test)
    yield Answer(
        budget_bits=None,
        weight_bits={
            name: simulation.model.get_submodule(name).param_quantizers["weight"].bitwidth
            for name in weight_layers(task.module())
        },
        accuracy=accuracy,
        nll_nats=nll,
        float_nll_nats=float_nll,
        seconds=clock.seconds,
    )


@torch.no_grad()
def _run(model: nn.Module, calibration: Samples) -> None:
    for inputs, _ in calibration.batches(_BATCH):
        model(inputs)


def _allocate(simulation: QuantizationSimModel, calibration: Samples) -> None:
    integer = QuantizationDataType.int
    accuracy = CallbackFunc(lambda model, _: accuracy_and_nll(model, calibration)[0])
    with tempfile.TemporaryDirectory() as folder:
        choose_mixed_precision(
            simulation,
            calibration.inputs[:1],
            [((ACTIVATION_BITS, integer), (bits, integer)) for bits in sorted(WIDTHS)[::-1]],
            accuracy,
            accuracy,
            _ALLOWED_DROP,
            folder,
            clean_start=True,
            forward_pass_callback=CallbackFunc(lambda model, _: _run(model, calibration)),
            use_all_amp_candidates=True,
        )


if __name__ == "__main__":
    serve(solve)
