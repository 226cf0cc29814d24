"""Accuracy, loss and means over samples."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from sigmaquant.calibration import Batch
from sigmaquant.errors import DataError
from sigmaquant.metrics import evaluate, mean_over_samples

LOGITS = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])


def pass_on(inputs: tuple[Tensor, ...]) -> Tensor:
    return inputs[0]


def batches(sizes: tuple[int, ...] = (2, 1)) -> list[Batch]:
    parts = zip(LOGITS.split(list(sizes)), torch.tensor([0, 0, 0]).split(list(sizes)), strict=True)
    return [Batch(inputs=(x,), target=y) for x, y in parts]


@pytest.mark.parametrize("sizes", [(3,), (2, 1), (1, 1, 1)])
def test_batches_do_not_matter(sizes: tuple[int, ...]) -> None:
    expected = torch.nn.functional.cross_entropy(LOGITS, torch.zeros(3, dtype=torch.long))
    assert evaluate(pass_on, batches(sizes)) == pytest.approx(2 / 3)
    assert evaluate(pass_on, batches(sizes), "loss") == pytest.approx(expected.item())


def test_dense_outputs_count_each_place() -> None:
    output = torch.zeros(1, 2, 4)
    output[0, 1, :3] = 1
    target = torch.ones(1, 4, dtype=torch.long)
    assert evaluate(pass_on, [Batch(inputs=(output,), target=target)]) == 0.75


def test_own_metric_and_several_outputs() -> None:
    def positive(output: Tensor, target: Tensor) -> Tensor:
        return (output > 0).float().mean()

    assert evaluate(lambda x: (x[0], -x[0]), batches(), positive) == pytest.approx(0.5)


def test_several_figures_from_one_pass() -> None:
    passes = []

    def once() -> Iterator[Batch]:
        passes.append(1)
        yield from batches()

    means, samples = mean_over_samples(
        pass_on,
        once(),
        {
            "first": lambda outputs, batch: outputs[0][:, 0].mean(),
            "size": lambda outputs, batch: len(batch),
        },
    )
    assert means["first"] == pytest.approx(5 / 3)
    assert means["size"] == pytest.approx((2 * 2 + 1) / 3)
    assert samples == 3
    assert passes == [1]


def test_nothing_to_evaluate() -> None:
    with pytest.raises(DataError, match="no samples"):
        evaluate(pass_on, [])
    with pytest.raises(DataError, match="needs labels"):
        evaluate(pass_on, [Batch(inputs=(LOGITS,))])
