"""NVIDIA ModelOpt: gradient scores and a linear program, ``auto_quantize``.

Formats are those of its ``INT8_DEFAULT_CFG`` with 2 to 8 bits for the weights; "leave it in
float", which is a choice by default, is switched off. The scores are computed once and every
budget is solved from them, as its documentation shows. ``Task.loss_factor`` multiplies the loss:
its scores are squares of small gradients, which can fall below what its solver tells apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import modelopt.torch.quantization as mtq
import torch
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
_ALGORITHM = "max"

Pair = tuple[torch.Tensor, torch.Tensor]


def solve(task: Task) -> Iterator[Answer]:
    """Scores once, then one solution a budget."""
    calibration, test = Samples.load(task.calibration), Samples.load(task.test)
    _, float_nll = accuracy_and_nll(task.module(), calibration)
    batches = calibration.batches(_BATCH)
    scoring = Clock()
    with scoring.stage("allocate"):
        state = _search_state(task, batches)
    for budget_bits in task.budgets_bits:
        clock = Clock()
        clock.seconds.update(scoring.seconds)
        with clock.stage("allocate"):
            config = mtq.get_auto_quantize_config(state, {"effective_bits": budget_bits})
        with clock.stage("quantize"):
            quantized = _quantized(task.module(), {**config, "algorithm": _ALGORITHM}, batches)
        accuracy, nll = accuracy_and_nll(quantized, test)
        yield Answer(
            budget_bits=budget_bits,
            weight_bits={
                name: layer.weight_quantizer.num_bits
                for name, layer in weight_layers(quantized).items()
            },
            accuracy=accuracy,
            nll_nats=nll,
            float_nll_nats=float_nll,
            seconds=clock.seconds,
        )


def _format(weight_bits: int) -> dict[str, Any]:
    activations = {"num_bits": ACTIVATION_BITS, "axis": None}
    return {
        "quant_cfg": [
            {"quantizer_name": "*", "enable": False},
            {"quantizer_name": "*weight_quantizer", "cfg": {"num_bits": weight_bits, "axis": 0}},
            {"quantizer_name": "*input_quantizer", "cfg": activations},
        ],
        "algorithm": _ALGORITHM,
    }


def _search_state(task: Task, batches: list[Pair]) -> dict[str, Any]:
    def loss(logits: torch.Tensor, batch: Pair) -> torch.Tensor:
        return nn.functional.cross_entropy(logits, batch[1]) * task.loss_factor

    formats = [_format(bits) for bits in WIDTHS]
    everywhere = {
        "module_name_patterns": ["*"],
        "quantization_formats": formats,
        "allow_no_quant": False,
    }
    _, state = mtq.auto_quantize(
        task.module(),
        {"effective_bits": task.budgets_bits[0]},
        formats,
        data_loader=batches,
        forward_step=lambda model, batch: model(batch[0]),
        loss_func=loss,
        num_calib_steps=len(batches),
        num_score_steps=len(batches),
        module_search_spaces=[everywhere],
    )
    return state


def _quantized(module: nn.Module, config: dict[str, Any], batches: list[Pair]) -> nn.Module:
    def calibrate(model: nn.Module) -> None:
        for inputs, _ in batches:
            model(inputs)

    return mtq.quantize(module, config, calibrate)


if __name__ == "__main__":
    serve(solve)
