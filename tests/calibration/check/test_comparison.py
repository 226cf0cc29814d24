"""``check_calibration`` on a network that has learned digits: what it finds, and what not."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sigmaquant as sq
from sigmaquant.calibration_check import CalibrationCheck, Finding
from sigmaquant.errors import ArtifactError, DataError
from sigmaquant.network import capture
from tests import nets

FIRST, LAST = "0", "9"
"""Layers of the digits network."""


def finding(check: CalibrationCheck, kind: str) -> Finding:
    """The only finding of that kind."""
    (found,) = (each for each in check.findings if each.kind == kind)
    return found


def noisy(x: Tensor) -> Tensor:
    return x + 0.4 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def blurred(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 5, 1, 2)


def brighter(x: Tensor) -> Tensor:
    return x + 0.4


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [8, 64, 256])
def test_data_of_one_kind_give_no_warning(digits: Any, count: int, seed: int) -> None:
    check = digits.check(*digits.draw(count, seed), seed=seed)
    assert {each.kind for each in check.warnings} == ({"samples"} if count < 64 else set())
    assert check.calibration_samples == count
    assert check.compared_samples == 400


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (brighter, {"clipping", "shift"}),
        (noisy, {"clipping", "shift"}),
        (blurred, {"shift"}),
    ],
)
def test_changed_images_are_found_at_the_first_layer(
    digits: Any, change: Callable[[Tensor], Tensor], kinds: set[str]
) -> None:
    calibration, other = digits.draw(256, 1)
    check = digits.check(calibration, change(other))
    assert {each.kind for each in check.warnings} == kinds
    shift = finding(check, "shift")
    assert shift.where[0] in (FIRST, "3")
    assert "The inputs themselves differ" in shift.what
    assert "Prepare both in the same way" in shift.advice
    if "clipping" in kinds:
        clipping = finding(check, "clipping")
        assert clipping.where[0] == "input"
        assert 0.01 < clipping.value < 0.5
        assert "of held-back calibration data" in clipping.what


def test_inputs_scaled_in_another_way_are_named(digits: Any) -> None:
    calibration, other = digits.draw(128, 2)
    check = digits.check((calibration + 1) / 2, (other + 1) * 127.5)
    scale = check.findings[0]
    assert (scale.kind, scale.severity, scale.where) == ("scale", "warning", ("input",))
    assert scale.value == pytest.approx(255, rel=0.05)
    assert "lie in 0..255, calibration values in 0..1" in scale.what
    assert scale.advice == "Scale both as in training."
    # What a network answers to such inputs says nothing about classes.
    assert "classes" not in {each.kind for each in check.findings}


def test_one_sided_and_two_sided_scaling_are_told_apart(digits: Any) -> None:
    calibration, other = digits.draw(128, 2)
    scale = finding(digits.check(calibration, (other + 1) / 2), "scale")
    assert "lie in 0..1, calibration values in -1..1" in scale.what


def test_missing_classes_are_named_and_felt_behind_the_inputs(digits: Any) -> None:
    few = digits.labels < 4
    data = (digits.images[few], digits.labels[few]), (digits.images, digits.labels)
    check = sq.check_calibration(digits.network, *([each] for each in data))
    classes = finding(check, "classes")
    assert classes.severity == "warning"
    assert classes.value == pytest.approx(0.6, abs=0.05)
    assert "classes 4, 5, 6, ..., to which" in classes.what
    assert "by their labels" in classes.what
    shift = finding(check, "shift")
    assert shift.where == (LAST,)
    assert "The inputs are alike, but inside the network" in shift.what
    assert "all classes" in shift.advice


def test_without_labels_the_networks_answers_tell_the_classes(digits: Any) -> None:
    check = digits.check(digits.images[digits.labels < 4], digits.images)
    assert "by the float network's answers" in finding(check, "classes").what


def test_the_same_seed_gives_the_same_check(digits: Any) -> None:
    calibration, other = digits.draw(64, 3)
    first, again, another = (digits.check(calibration, other, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != another


def test_batches_do_not_matter(digits: Any) -> None:
    calibration, other = digits.draw(64, 3)
    whole, parts = (
        sq.check_calibration(digits.network, calibration.split(size), other.split(size))
        for size in (500, 7)
    )
    for a, b in zip(whole.shifts, parts.shifts, strict=True):
        assert a.layer == b.layer
        assert a.shift == pytest.approx(b.shift, rel=1e-3)
        assert a.noise_limit == pytest.approx(b.noise_limit, rel=1e-3)
    for x, y in zip(whole.clipping, parts.clipping, strict=True):
        assert x.deployment == pytest.approx(y.deployment, abs=1e-6)


def test_the_deployment_data_are_not_kept(digits: Any) -> None:
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def loader() -> Iterator[Tensor]:
        nonlocal most
        for _ in range(20):
            batch = torch.rand(4, 1, 16, 16) * 2 - 1
            alive.append(weakref.ref(batch))
            most = max(most, sum(each() is not None for each in alive))
            yield batch
            del batch

    check = sq.check_calibration(digits.network, [digits.images[:32]], loader())
    assert check.compared_samples == 80
    assert most <= 3


def test_alone_only_the_calibration_data_are_looked_at(digits: Any) -> None:
    check = sq.check_calibration(digits.network, [digits.images[:20]])
    assert check.compared_with is None
    assert check.clipping == check.shifts == ()
    assert [(each.kind, each.severity) for each in check.findings] == [
        ("samples", "warning"),
        ("samples", "note"),
    ]
    rounding = check.notes[0]
    assert rounding.where == (LAST,)
    assert rounding.value == 32
    assert check.headline == "20 calibration samples: 1 warning, 1 note."


def test_the_data_compared_with_are_called_by_their_name(digits: Any) -> None:
    calibration, other = digits.draw(128, 1)
    check = sq.check_calibration(
        digits.network, [calibration], [brighter(other)], compared_with="evaluation"
    )
    assert check.compared_with == "evaluation"
    assert all("evaluation data" in each.what.lower() for each in check.findings)
    assert "against 400 evaluation samples: 2 warnings, 0 notes." in check.headline


def with_nan(x: Tensor) -> Tensor:
    x = x.clone()
    x[1] = torch.nan
    return x


@pytest.mark.parametrize(
    ("calibration", "other", "message"),
    [
        ([], [0], "calibration data gave no samples"),
        ([0], [], "deployment data gave no samples"),
        ([with_nan], [0], "calibration batch 0 holds NaN"),
        ([0], [0, with_nan], "deployment batch 1 holds NaN"),
        ([0], [lambda x: x[:, :, :8]], r"deployment batch 0 has shape \(4, 1, 8, 16\)"),
        ([lambda x: x[:1]], [0], "a single calibration sample"),
    ],
)
def test_data_that_cannot_be_used(
    digits: Any, calibration: list[Any], other: list[Any], message: str
) -> None:
    sides = [
        [change(digits.images[:4]) if callable(change) else digits.images[:4] for change in side]
        for side in (calibration, other)
    ]
    with pytest.raises(DataError, match=message):
        sq.check_calibration(digits.network, *sides)


def test_few_samples_give_unstable_scores(digits: Any) -> None:
    images = digits.images[:8]
    scores = sq.score(digits.network, [images], metric="loss")
    check = sq.check_calibration(digits.network, [images], scores=scores)
    found = finding(check, "scores")
    assert check.findings[-1] == found
    assert found.unit == "rank correlation"
    assert check.stability is not None
    assert not check.stability.measured
    assert check.stability.samples_needed > 8
    assert f"8 -> about {check.stability.samples_needed}" in found.advice


def test_two_halves_can_be_scored(digits: Any) -> None:
    images = digits.images[:64]
    halves = [sq.score(digits.network, [part]) for part in images.split(32)]
    check = sq.check_calibration(digits.network, [images], None, halves)
    assert check.stability is not None
    assert check.stability.measured
    assert check.stability.samples == 64
    assert -1 <= check.stability.rank_correlation <= 1


def test_scores_of_another_network_are_refused(digits: Any) -> None:
    scores = sq.score(nets.captured("mlp"), nets.loader("mlp"))
    with pytest.raises(ArtifactError, match="scores are of another network"):
        sq.check_calibration(digits.network, [digits.images[:8]], scores=scores)


@pytest.mark.parametrize(
    "name", ["tied", "attention", "conv1d", "two_inputs", "multi_output", "fixed_batch"]
)
def test_networks_of_every_kind(name: str) -> None:
    network = nets.captured(name)
    batches = [nets.samples(name, seed=seed) for seed in range(6)]
    check = sq.check_calibration(network, batches[:3], batches[3:])
    assert {each.layer for each in check.shifts} <= {layer.name for layer in network.table.layers}
    assert {each.group for each in check.clipping} == set(network.table.groups)


class Constant(nn.Module):
    """Of three channels, those that see nothing in the calibration data."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.conv(x)).mean((2, 3)))


def test_a_channel_that_only_varies_in_use() -> None:
    network = capture(Constant(), torch.zeros(2, 3, 8, 8))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, 8, 8, generator=generator)
    dead = x[:100] * torch.tensor([1.0, 0.0, 1.0]).reshape(3, 1, 1)
    alive = finding(sq.check_calibration(network, [dead], [x[100:]]), "constant")
    assert (alive.severity, alive.value, alive.where) == ("warning", 1, ("x",))
    assert "and vary in the deployment data" in alive.what
    alone = finding(sq.check_calibration(network, [dead]), "constant")
    assert alone.severity == "note"
    both = sq.check_calibration(network, [dead[:50]], [dead[50:]])
    assert "constant" not in {each.kind for each in both.findings}


def test_data_that_never_vary_have_no_shift() -> None:
    network = capture(Constant(), torch.zeros(2, 3, 8, 8))
    check = sq.check_calibration(network, [torch.ones(4, 3, 8, 8)], [torch.randn(4, 3, 8, 8)])
    assert check.shifts == ()
