from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from sigmaquant.calibration import Batch, data_digest, read_batches, samples_of
from sigmaquant.errors import DataError
from sigmaquant.network import Network, capture
from tests import nets

MLP, TWO, FIXED = "mlp", "two_inputs", "fixed_batch"
X = torch.arange(24.0).reshape(4, 6)
LABELS = torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize(
    ("item", "labelled"),
    [
        (X, False),
        ((X,), False),
        ([X, LABELS], True),
        ((X, LABELS), True),
        ({"x": X}, False),
        ({"x": X, "y": LABELS}, True),
        (Batch((X,), LABELS), True),
    ],
)
def test_what_a_loader_may_yield(item: Any, labelled: bool) -> None:
    (batch,) = read_batches([item], nets.captured(MLP))
    assert torch.equal(batch.inputs[0], X)
    assert len(batch) == 4
    assert (batch.target is not None) is labelled
    if batch.target is not None:
        assert torch.equal(batch.target, LABELS)


@pytest.mark.parametrize("nested", [True, False])
def test_several_inputs(nested: bool) -> None:
    image, vector = nets.samples(TWO)
    item = ((image, vector), LABELS) if nested else (image, vector, LABELS)
    (batch,) = read_batches([item], nets.captured(TWO))
    assert [tuple(x.shape) for x in batch.inputs] == [(4, 3, 8, 8), (4, 5)]
    assert batch.target is not None


def test_a_data_loader() -> None:
    data = TensorDataset(torch.randn(10, 6), torch.arange(10))
    batches = read_batches(DataLoader(data, batch_size=4), nets.captured(MLP))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert samples_of(batches) == 10


@pytest.mark.parametrize(("limit", "sizes"), [(3, [3]), (4, [4]), (5, [4, 1]), (99, [4, 4])])
def test_a_limit_cuts_the_last_batch(limit: int, sizes: list[int]) -> None:
    batches = read_batches([(X, LABELS)] * 2, nets.captured(MLP), limit=limit)
    assert [len(batch) for batch in batches] == sizes
    assert [len(batch.target) for batch in batches] == sizes  # type: ignore[arg-type]


def test_a_limit_never_cuts_a_fixed_batch() -> None:
    items = [nets.samples(FIXED)] * 4
    batches = read_batches(items, nets.captured(FIXED), limit=3)
    assert [len(batch) for batch in batches] == [2, 2]


def test_an_endless_loader_is_read_no_further_than_the_limit() -> None:
    def endless() -> Any:
        while True:
            yield X

    assert samples_of(read_batches(endless(), nets.captured(MLP), limit=10)) == 10


def test_other_types_are_converted() -> None:
    (batch,) = read_batches([X.double().requires_grad_()], nets.captured(MLP))
    assert batch.inputs[0].dtype == torch.float32
    assert not batch.inputs[0].requires_grad
    data_digest([batch])


def nan_in(x: Tensor) -> Tensor:
    x = x.clone()
    x[1, 2] = torch.nan
    return x


@pytest.mark.parametrize(
    ("name", "items", "message"),
    [
        (MLP, [], "gave no samples"),
        (MLP, [X[:0]], "gave no samples"),
        (MLP, [X, nan_in(X)], "batch 1 holds NaN"),
        (MLP, [X * torch.inf], "batch 0 holds NaN or infinite"),
        (MLP, [X[:, :5]], r"batch 0 has shape \(4, 5\); the network takes \(batch, 6\)"),
        (MLP, [X[0]], r"batch 0 has shape \(6,\)"),
        (MLP, [X.int()], "batch 0 holds torch.int32, the network takes torch.float32"),
        (MLP, [(X, LABELS[:3])], r"4 samples but labels of shape \(3,\)"),
        (MLP, [(X[:1], torch.tensor(3))], r"1 samples but labels of shape \(\)"),
        (MLP, [(X, LABELS, LABELS)], "holds 3 tensors"),
        (MLP, [X.numpy()], "holds 0 tensors"),
        (MLP, [Batch((X, X))], "has 2 inputs, the network takes 1"),
        (TWO, [X], "holds 1 tensors.*takes 2 inputs"),
        (TWO, [(torch.ones(4, 3, 8, 8), torch.ones(3, 5))], r"different numbers.*\[3, 4\]"),
        (FIXED, [torch.ones(3, 3, 8, 8)], "3 samples, but the network.*fixed batch of 2"),
    ],
)
def test_data_that_do_not_fit_are_refused(name: str, items: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_batches(items, nets.captured(name))


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.out = nn.Linear(4, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.embed(tokens).mean(1))


def test_integer_inputs_are_not_turned_into_floats() -> None:
    network: Network = capture(Tokens(), torch.zeros(2, 3, dtype=torch.long))
    (batch,) = read_batches([torch.ones(4, 3, dtype=torch.int32)], network)
    assert batch.inputs[0].dtype == torch.int64


def test_the_digest_sees_inputs_labels_and_batches() -> None:
    digests = {
        data_digest(read_batches(items, nets.captured(MLP)))
        for items in ([(X, LABELS)], [(X, LABELS + 1)], [X], [X + 1], [X, X], [X[:1], X[1:]])
    }
    assert len(digests) == 6
    again = read_batches([torch.from_numpy(np.asarray(X))], nets.captured(MLP))
    assert data_digest(again) == data_digest(read_batches([X], nets.captured(MLP)))
