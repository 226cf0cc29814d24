from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sigmaquant.calibration import Batch
from sigmaquant.errors import ConfigError
from sigmaquant.finetune.micro_batches import parts_of, samples_within
from sigmaquant.finetune.objective import Objective
from sigmaquant.finetune.recipe import Recipe
from sigmaquant.quantized import QuantizedNetwork
from tests import nets


def objective_of(student: QuantizedNetwork) -> Objective:
    return Objective(student.network, student, Recipe())


def gradients(student: QuantizedNetwork, samples: int | None) -> list[Tensor]:
    student.zero_grad()
    for part, share in parts_of(Batch(nets.samples("resnet", 7)), samples):
        (share * objective_of(student)(part)).backward()
    return [p.grad.clone() for p in student.parameters() if p.grad is not None]


def test_the_parts_gradients_add_up_to_the_batchs() -> None:
    student = nets.quantized("resnet", 3).copy()
    whole = gradients(student, None)
    for part, expected in zip(gradients(student, 3), whole, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-4, atol=1e-6)


def test_parts_keep_samples_and_labels_together() -> None:
    batch = Batch((torch.arange(7.0),), torch.arange(7))
    parts = list(parts_of(batch, 3))
    assert [(p.inputs[0].tolist(), share) for p, share in parts] == [
        ([0, 1, 2], 3 / 7),
        ([3, 4, 5], 3 / 7),
        ([6], 1 / 7),
    ]
    assert all(torch.equal(p.inputs[0], p.target) for p, _ in parts if p.target is not None)


def test_more_memory_takes_more_samples() -> None:
    student = nets.quantized("resnet", 3).copy()
    objective, batch = objective_of(student), Batch(nets.samples("resnet", 4))
    some, more = (samples_within(2**k, student, objective, batch) for k in (20, 22))
    assert 1 <= some < more
    assert more - some == pytest.approx(some * 3, rel=0.3)
    with pytest.raises(ConfigError, match=r"does not fit into 1 KiB: a step of one sample takes"):
        samples_within(1024, student, objective, batch)
