from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn import datasets
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from sigmaquant.bitplan import BitPlan
from sigmaquant.calibration import Batch
from sigmaquant.divergence import divergence
from sigmaquant.errors import ArtifactError, ConfigError, DataError, OutputError
from sigmaquant.finetune import AugmentedBatches, finetune
from sigmaquant.lowering import lower
from sigmaquant.lowering.reference import run_reference
from sigmaquant.network import Network, capture
from sigmaquant.quantized import QuantizedNetwork, quantize
from tests import nets


@functools.cache
def digits() -> tuple[Tensor, Tensor]:
    pixels, labels = datasets.load_digits(return_X_y=True)
    return torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels)


@functools.cache
def trained() -> Network:
    """A perceptron that has learned the first 1,200 digits."""
    x, y = digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for step in range(150):
            rows = torch.randperm(1200, generator=torch.Generator().manual_seed(step))[:128]
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return capture(model.eval(), x[:2])


@functools.cache
def plan() -> BitPlan:
    return BitPlan.uniform(trained().table, 2)


def training_data(size: int = 512) -> DataLoader[Any]:
    x, y = digits()
    return DataLoader(TensorDataset(x[:size], y[:size]), batch_size=64, shuffle=True)


def held_back() -> list[Tensor]:
    return [digits()[0][1200:1500]]


def loss_of(quantized: QuantizedNetwork, data: list[Tensor]) -> float:
    with torch.no_grad():
        parts = [divergence(trained()(x), (quantized(x),)).mean() for x in data]
    return float(sum(parts) / len(parts))


def start() -> QuantizedNetwork:
    """Rounded to nearest, which leaves much to win back."""
    return quantize(trained(), plan(), held_back(), rounding="nearest")


def states_equal(a: QuantizedNetwork, b: QuantizedNetwork) -> bool:
    return all(torch.equal(value, b.state()[name]) for name, value in a.state().items())


def test_the_loss_goes_down_on_data_never_seen() -> None:
    before = start()
    after = finetune(
        trained(),
        plan(),
        training_data(),
        epochs=4,
        start=before,
        validation=held_back(),
        learning_rate=0.01,
    )
    unseen = [digits()[0][1500:]]
    assert loss_of(after, held_back()) < 0.6 * loss_of(before, held_back())
    assert loss_of(after, unseen) < 0.7 * loss_of(before, unseen)
    # The start is as it was, and what was trained is still on its grid.
    assert states_equal(before, start())
    levels = after.weight_quantizer("0").levels(after.weight("0"))
    assert set(levels.unique().tolist()) <= {-2, -1, 0, 1}


def test_step_sizes_are_trained_too() -> None:
    before = start()
    after = finetune(trained(), plan(), training_data(), epochs=2, start=before)
    for layer in ("0", "2"):
        moved = after.weight_quantizer(layer).scale - before.weight_quantizer(layer).scale
        assert float(moved.detach().abs().max()) > 0
    for group in trained().table.groups:
        moved = after.activation_quantizer(group).scale - before.activation_quantizer(group).scale
        assert float(moved.detach().abs()) > 0


def test_never_worse_than_the_start() -> None:
    before = quantize(trained(), plan(), held_back())
    # Steps of this size ruin everything; the start is what comes back.
    after = finetune(
        trained(),
        plan(),
        training_data(64),
        epochs=2,
        start=before,
        validation=held_back(),
        learning_rate=0.99,
    )
    assert states_equal(after, before)


def test_without_a_start_the_calibration_data_make_one() -> None:
    x, _ = digits()
    after = finetune(trained(), plan(), training_data(), epochs=1, calibration=[x[:256]])
    begun = quantize(trained(), plan(), [x[:256]])
    assert loss_of(after, [x[:256]]) < loss_of(begun, [x[:256]])


def test_the_first_training_samples_calibrate_where_nothing_else_is_given() -> None:
    x, y = digits()
    batches = [(x[i : i + 64], y[i : i + 64]) for i in range(0, 640, 64)]
    begun = quantize(trained(), plan(), x[:512].split(64))
    after = finetune(trained(), plan(), batches, epochs=1)
    assert loss_of(after, [x[:512]]) < loss_of(begun, [x[:512]])


def test_the_users_loss_is_added() -> None:
    x, y = digits()

    def cross_entropy(outputs: tuple[Tensor, ...], target: Tensor | None) -> Tensor:
        assert target is not None
        return F.cross_entropy(outputs[0], target)

    validation = [(x[1200:], y[1200:])]
    before = start()
    after = finetune(
        trained(),
        plan(),
        training_data(),
        epochs=8,
        start=before,
        validation=validation,
        loss=cross_entropy,
        learning_rate=0.01,
    )
    with torch.no_grad():
        losses = [float(F.cross_entropy(q(x[1200:]), y[1200:])) for q in (before, after)]
    assert losses[1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    "name", ["resnet", "attention", "dict_output", "tied", "pyramid", "decoder"]
)
def test_networks_of_every_kind_are_trained(name: str) -> None:
    network, data = nets.captured(name), nets.loader(name)
    plan = BitPlan.uniform(network.table, 2)
    before = quantize(network, plan, data)
    after = finetune(
        network, plan, data, epochs=8, start=before, calibration=data, learning_rate=0.003
    )

    def loss(quantized: QuantizedNetwork) -> float:
        with torch.no_grad():
            parts = [divergence(network(*x), nets.flat(quantized(*x))).mean() for x in data]
        return float(sum(parts))

    assert loss(after) < loss(before)


class KilledError(Exception):
    pass


class Unreliable:
    """A loader that fails in the middle of a later epoch."""

    def __init__(self, loader: DataLoader[Any], batches: int) -> None:
        self.loader = loader
        self.left = batches

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        for item in self.loader:
            self.left -= 1
            if self.left < 0:
                raise KilledError
            yield item


@pytest.mark.parametrize("epochs_done", [0, 1, 2])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(epochs_done: int, tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 3, "validation": held_back(), "calibration": held_back()}
    uninterrupted = finetune(trained(), plan(), training_data(), start=start(), **options)
    checkpoint = tmp_path / "finetune.partial"
    options |= {"checkpoint": checkpoint}
    unreliable = Unreliable(training_data(), 8 * epochs_done + 3)
    with pytest.raises(KilledError):
        finetune(trained(), plan(), unreliable, start=start(), **options)
    assert checkpoint.exists() is (epochs_done > 0)
    torch.manual_seed(99)
    rest = Unreliable(training_data(), 8 * (3 - epochs_done))
    resumed = finetune(trained(), plan(), rest, start=start(), **options)
    assert rest.left == 0
    assert states_equal(resumed, uninterrupted)
    assert not checkpoint.exists()


def test_a_checkpoint_of_another_run_is_not_taken_up(tmp_path: Path) -> None:
    checkpoint = tmp_path / "finetune.partial"
    unreliable = Unreliable(training_data(), 11)
    with pytest.raises(KilledError):
        finetune(
            trained(), plan(), unreliable, start=start(), calibration=held_back(), epochs=2,
            checkpoint=checkpoint,
        )  # fmt: skip
    whole = Unreliable(training_data(), 100)
    finetune(
        trained(), plan(), whole, start=start(), calibration=held_back(), epochs=1,
        checkpoint=checkpoint,
    )  # fmt: skip
    assert whole.left == 100 - 8


class Stream(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        return iter(digits()[0][:256])


def test_a_stream_of_unknown_length() -> None:
    before = start()
    loader = DataLoader(Stream(), batch_size=64)
    after = finetune(trained(), plan(), loader, epochs=2, start=before, calibration=held_back())
    assert loss_of(after, held_back()) < loss_of(before, held_back())


def test_errors(tmp_path: Path) -> None:
    network, data = trained(), training_data(64)
    with pytest.raises(ConfigError, match="epochs has to be at least 1, not 0"):
        finetune(network, plan(), data, epochs=0)
    with pytest.raises(ConfigError, match=r"between 0 and 1, not 1\.5"):
        finetune(network, plan(), data, learning_rate=1.5)
    with pytest.raises(DataError, match="gave no samples"):
        finetune(network, plan(), [])
    with pytest.raises(DataError, match="can it be iterated twice"):
        finetune(network, plan(), iter([digits()[0][:64]]))
    bad = [digits()[0][:64], digits()[0][:64] * torch.nan]
    with pytest.raises(DataError, match="training batch 1 holds NaN"):
        finetune(network, plan(), bad, calibration=held_back())
    with pytest.raises(ArtifactError, match="does not cover 0, 2"):
        finetune(network, BitPlan.uniform(nets.captured("mlp").table, 2), data)
    with pytest.raises(ArtifactError, match=r"another plan \(uniform 2\).*\(uniform 3\)"):
        finetune(network, BitPlan.uniform(network.table, 3), data, start=start())
    checkpoint = tmp_path / "finetune.partial"
    checkpoint.write_bytes(b"nonsense")
    with pytest.raises(ArtifactError, match="damaged training state; delete it"):
        finetune(network, plan(), data, epochs=1, checkpoint=checkpoint)
    with pytest.raises(OutputError):
        finetune(network, plan(), data, epochs=1, checkpoint=checkpoint / "below")


def test_a_stated_memory_trains_as_whole_batches_do(caplog: pytest.LogCaptureFixture) -> None:
    options: dict[str, Any] = {"epochs": 1, "start": start(), "validation": held_back()}
    whole = finetune(trained(), plan(), training_data(), **options)
    with caplog.at_level("INFO", logger="sigmaquant.finetune"):
        parted = finetune(trained(), plan(), training_data(), memory="100 KiB", **options)
    assert 1 <= int(re.findall(r"at most (\d+) samples at a time", caplog.text)[0]) < 64
    assert loss_of(parted, held_back()) == pytest.approx(loss_of(whole, held_back()), rel=0.02)
    with pytest.raises(ConfigError, match="does not fit into 10 KiB: a step of one sample takes"):
        finetune(trained(), plan(), training_data(), memory="10 KiB", **options)
    fixed = nets.captured("fixed_batch")
    uniform = BitPlan.uniform(fixed.table, 4)
    with pytest.raises(ConfigError, match="fixed batch of 2, so no batch can be parted"):
        finetune(fixed, uniform, nets.loader("fixed_batch"), memory="1 GiB")


@pytest.mark.parametrize(
    "options", [{"feature_weight": 1.0}, {"precision": "bfloat16"}, {"damping": 0.02}]
)
def test_other_ways_to_train_win_back_too(options: dict[str, Any]) -> None:
    before = start()
    after = finetune(
        trained(), plan(), training_data(), epochs=2, start=before, validation=held_back(),
        learning_rate=0.01, **options,
    )  # fmt: skip
    assert loss_of(after, held_back()) < 0.8 * loss_of(before, held_back())


def test_unlabelled_calibration_data_alone_train() -> None:
    x, _ = digits()
    kept = [Batch((part,)) for part in x[:512].split(64)]
    before = start()
    after = finetune(
        trained(), plan(), AugmentedBatches(kept), epochs=2, start=before, validation=held_back(),
        learning_rate=0.01,
    )  # fmt: skip
    assert loss_of(after, held_back()) < 0.8 * loss_of(before, held_back())


def test_the_users_own_loop() -> None:
    """What ``quantize`` gives is an ordinary module, as docs/TUTORIAL_PYTORCH.md shows."""
    student, teacher = start(), trained()
    optimizer = torch.optim.Adam(student.parameters(), 0.002)
    for _ in range(3):
        for x, _ in training_data():
            optimizer.zero_grad()
            with torch.no_grad():
                target = teacher(x)[0].softmax(1)
            F.cross_entropy(student(x), target).backward()
            optimizer.step()
            student.raise_scales()
    assert loss_of(student, held_back()) < 0.8 * loss_of(start(), held_back())
    program, x = lower(student), digits()[0][1200:1300]
    (answer,) = run_reference(program, {program.inputs[0]: x.numpy()}).values()
    with torch.no_grad():
        agree = student(x).argmax(1) == torch.from_numpy(answer).argmax(1)
    assert float(agree.float().mean()) > 0.97
