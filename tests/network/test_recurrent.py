"""LSTM and GRU layers come out with the batch first, whatever way round they were called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import sigmaquant as sq
from sigmaquant.errors import UnsupportedError
from sigmaquant.export.onnx.runtime import OnnxRuntimeNetwork
from sigmaquant.lowering import lower
from sigmaquant.lowering.reference import run_reference
from sigmaquant.network.recurrent import RECURRENT

pytestmark = pytest.mark.filterwarnings("ignore:The tensor attributes .* were assigned")
"""torch.export, of the weights that torch's recurrent modules keep twice."""

FEATURES, HIDDEN, STEPS = 3, 4, 6

Forward = Callable[[nn.Module, Tensor], Tensor]


class Net(nn.Module):
    """A recurrent layer, what is read of it, and a linear layer."""

    def __init__(self, memory: nn.Module, read: Forward, features: int) -> None:
        super().__init__()
        self.memory = memory
        self.read = read
        self.out = nn.Linear(features, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.read(self.memory, x))


def _steps_first(x: Tensor) -> Tensor:
    return x.transpose(0, 1)


def _both_last(memory: nn.Module, x: Tensor) -> Tensor:
    return memory(x)[1][0].permute(1, 0, 2).reshape(-1, 2 * HIDDEN)


def _turned_twice(memory: nn.Module, x: Tensor) -> Tensor:
    every = memory(_steps_first(x))[0].flip(0)[1:4]
    return every.unflatten(-1, (2, -1)).permute(1, 3, 0, 2).unflatten(1, (2, -1)).flatten(1)


def _given(memory: nn.Module, x: Tensor) -> Tensor:
    start = x[:, :1, :1].expand(-1, -1, HIDDEN).transpose(0, 1).contiguous()
    return memory(x, (start, start))[0][:, -1]


def _cells(memory: nn.Module, x: Tensor) -> Tensor:
    return memory(x)[1][1][0]


CASES: dict[str, tuple[Callable[[], nn.Module], Forward, int]] = {
    "the last step": (
        lambda: nn.LSTM(FEATURES, HIDDEN, batch_first=True),
        lambda memory, x: memory(x)[0][:, -1],
        HIDDEN,
    ),
    "all steps": (
        lambda: nn.GRU(FEATURES, HIDDEN, bias=False),
        lambda memory, x: memory(_steps_first(x))[0].transpose(0, 1),
        HIDDEN,
    ),
    "the last state": (
        lambda: nn.GRU(FEATURES, HIDDEN),
        lambda memory, x: memory(_steps_first(x))[1][0],
        HIDDEN,
    ),
    "the last states of both directions": (
        lambda: nn.LSTM(FEATURES, HIDDEN, batch_first=True, bidirectional=True),
        _both_last,
        2 * HIDDEN,
    ),
    "two layers, squeezed": (
        lambda: nn.LSTM(FEATURES, HIDDEN, num_layers=2, dropout=0.5),
        lambda memory, x: memory(_steps_first(x))[0][-1:].squeeze(0),
        HIDDEN,
    ),
    "reshaped": (
        lambda: nn.GRU(FEATURES, HIDDEN, bidirectional=True),
        lambda memory, x: memory(_steps_first(x))[0].reshape(STEPS, -1, 2, 4).select(2, 1)[0],
        HIDDEN,
    ),
    "turned twice": (lambda: nn.GRU(FEATURES, HIDDEN), _turned_twice, 3 * HIDDEN),
}


def _net(name: str) -> nn.Module:
    torch.manual_seed(0)
    make, read, features = CASES[name]
    return Net(make(), read, features).eval()


def _samples(count: int) -> Tensor:
    return torch.rand(count, STEPS, FEATURES, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", CASES)
def test_the_function_is_the_same_and_everything_has_the_batch_first(name: str) -> None:
    model, x = _net(name), _samples(5)
    network = sq.capture(model, _samples(2))
    with torch.no_grad():
        torch.testing.assert_close(network(x)[0], model(x))
    calls = [node for node in network.module.graph.nodes if node.target in RECURRENT]
    assert len(calls) == 1
    lower(sq.quantize(network, sq.BitPlan.uniform(network.table, 8), [_samples(16)]))


@pytest.mark.parametrize("name", ["the last step", "the last states of both directions"])
def test_an_onnx_file_holds_them_in_float(name: str, tmp_path: Path) -> None:
    network = sq.capture(_net(name), _samples(2))
    quantized = sq.quantize(network, sq.BitPlan.uniform(network.table, 4), [_samples(32)])
    sq.export(quantized, tmp_path / "net.onnx")
    (layer,) = (n for n in onnx.load(tmp_path / "net.onnx").graph.node if n.op_type == "LSTM")
    assert layer.name == "memory"
    x = _samples(7).numpy()
    program = lower(quantized)
    (expected,) = (run_reference(program, {program.inputs[0]: x})[y] for y in program.outputs)
    (found,) = OnnxRuntimeNetwork(tmp_path / "net.onnx", threads=1)(x)
    np.testing.assert_allclose(found, expected, atol=2e-2)


@pytest.mark.parametrize("read", [_given, _cells])
def test_other_states_are_refused_by_name(read: Forward) -> None:
    memory = nn.LSTM(FEATURES, HIDDEN, batch_first=True)
    network = sq.capture(Net(memory, read, HIDDEN), _samples(2))
    quantized = sq.quantize(network, sq.BitPlan.uniform(network.table, 8), [_samples(16)])
    with pytest.raises(UnsupportedError, match=r"memory\w* \(lstm\.input\) is a recurrent layer"):
        lower(quantized)


def test_a_fixed_batch_has_its_zeros_as_parameters() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = nn.GRU(FEATURES, HIDDEN)
            self.out = nn.Linear(HIDDEN, 2)

        def forward(self, x: Tensor) -> Tensor:
            every, _ = self.memory(x.reshape(2, STEPS, FEATURES).transpose(0, 1))
            return self.out(every[-1])

    network = sq.capture(Fixed(), _samples(2))
    assert network.batch_size == 2
    lower(sq.quantize(network, sq.BitPlan.uniform(network.table, 8), [_samples(2)]))
