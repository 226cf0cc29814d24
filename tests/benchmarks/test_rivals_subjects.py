from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from benchmarks.networks import NETWORKS
from benchmarks.rivals import subjects
from benchmarks.rivals.folding import FOLDS, folded_state
from benchmarks.rivals.subjects import Subject
from benchmarks.rivals.workers.exchange import Samples, weight_layers
from benchmarks.rivals.workers.networks import BUILDERS
from sigmaquant.demo_network import DigitNet

TRAINED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "digits": (DigitNet, (1, 16, 16)),
    **{
        name: (NETWORKS[name].build, NETWORKS[name].input_shape)
        for name in FOLDS
        if name != "digits"
    },
}


def with_statistics(module: nn.Module) -> nn.Module:
    """BatchNorms as after training: none of them passes its input on unchanged."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
            nn.init.uniform_(norm.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(norm.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return module.eval()


@pytest.mark.parametrize("name", TRAINED)
def test_the_plain_network_computes_what_the_trained_one_does(name: str) -> None:
    torch.manual_seed(0)
    build, shape = TRAINED[name]
    trained = with_statistics(build())
    plain = BUILDERS[name]().eval()
    plain.load_state_dict(folded_state(name, trained))
    x = torch.randn(4, *shape)
    with torch.no_grad():
        expected, found = trained(x), plain(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", FOLDS)
def test_every_layer_is_folded_once(name: str) -> None:
    layers = [fold.layer for fold in FOLDS[name]]
    assert sorted(layers) == sorted(weight_layers(BUILDERS[name]()))


def numbered(count: int) -> Samples:
    return Samples(torch.arange(float(count)).reshape(-1, 1), torch.zeros(count, dtype=torch.int64))


def subject(test: Samples | None) -> Subject:
    return Subject("digits", DigitNet().eval(), numbered(20), test)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subjects, "CALIBRATION_SAMPLES", 8)


def test_a_draw_is_the_same_for_the_same_seed_only() -> None:
    one = subject(numbered(5))
    first, again, other = one.draw(0), one.draw(0), one.draw(1)
    assert torch.equal(first.calibration.inputs, again.calibration.inputs)
    assert not torch.equal(first.calibration.inputs, other.calibration.inputs)
    assert len(first.calibration) == 8
    assert len(set(first.calibration.inputs.flatten().tolist())) == 8


def test_the_rest_of_the_pool_is_tested_where_there_are_no_test_samples() -> None:
    draw = subject(None).draw(0)
    seen = torch.cat([draw.calibration.inputs, draw.test.inputs]).flatten()
    assert sorted(seen.tolist()) == list(range(20))
    assert len(draw.test) == 12


def test_separate_test_samples_do_not_change_with_the_draw() -> None:
    test = numbered(5)
    assert all(subject(test).draw(seed).test is test for seed in range(3))
