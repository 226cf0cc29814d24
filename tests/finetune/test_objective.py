from __future__ import annotations

import pytest
import torch

from sigmaquant.calibration import Batch
from sigmaquant.errors import ConfigError
from sigmaquant.finetune import precision
from sigmaquant.finetune.features import Features, feature_distance
from sigmaquant.finetune.objective import Objective
from sigmaquant.finetune.recipe import Recipe
from sigmaquant.network.runner import run_float
from tests import nets


@pytest.mark.parametrize("name", ["resnet", "two_inputs", "concat", "tied", "pyramid"])
def test_features_of_student_and_teacher_belong_together(name: str) -> None:
    network = nets.captured(name)
    features = Features(network, nets.quantized(name, 8))
    inputs = nets.samples(name, 4)
    outputs, exact = features.reference(network.runner(), inputs)
    student = nets.quantized(name, 8)
    features = Features(network, student)
    with features.seen() as values:
        student(*inputs)
    assert len(values) == len(exact) == len(network.encodings.sites)
    assert all(a.shape == b.shape for a, b in zip(exact, values, strict=True))
    assert 0 < float(feature_distance(exact, values).detach()) < 0.01
    for a, b in zip(outputs, run_float(network.runner(), inputs), strict=True):
        assert torch.equal(a, b)
    student(*inputs)
    assert len(values) == len(exact)  # nothing is seen any longer


def test_features_add_to_the_objective_and_not_to_what_is_judged() -> None:
    network, student = nets.captured("resnet"), nets.quantized("resnet", 2).copy()
    batch = Batch(nets.samples("resnet", 4))
    plain = Objective(network, student, Recipe())
    rich = Objective(network, student, Recipe(feature_weight=2.0))
    features = Features(network, student)
    with features.seen() as values:
        student(*batch.inputs)
    distance = feature_distance(features.reference(network.runner(), batch.inputs)[1], values)
    torch.testing.assert_close(rich(batch), plain(batch) + 2 * distance)
    reference = plain.reference(batch)
    assert torch.equal(rich.judged(batch, reference), plain.judged(batch, reference))


def test_bfloat16_trains_nearly_alike_and_judges_alike() -> None:
    network, student = nets.captured("resnet"), nets.quantized("resnet", 3).copy()
    batch = Batch(nets.samples("resnet", 8))
    exact, coarse = (Objective(network, student, Recipe(precision=p)) for p in _PRECISIONS)
    gradients = []
    for objective in (exact, coarse):
        student.zero_grad()
        loss = objective(batch)
        assert loss.dtype == torch.float32
        loss.backward()
        found = [p.grad for p in student.parameters() if p.grad is not None]
        assert all(gradient.dtype == torch.float32 for gradient in found)
        gradients.append(torch.cat([gradient.flatten() for gradient in found]))
    assert not torch.equal(*gradients)
    assert float(torch.cosine_similarity(*gradients, dim=0)) > 0.9
    reference = exact.reference(batch)
    assert torch.equal(exact.judged(batch, reference), coarse.judged(batch, reference))


_PRECISIONS: tuple[precision.Precision, ...] = ("float32", "bfloat16")


@pytest.mark.parametrize("has", [False, True])
def test_auto_is_what_the_processor_multiplies(has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has)
    assert precision.trains_in_bfloat16("auto") is has
    settled = Recipe(precision="bfloat16" if has else "float32")
    assert Recipe(precision="auto").digest_text() == settled.digest_text()
    assert not precision.trains_in_bfloat16("float32")
    assert precision.trains_in_bfloat16("bfloat16")


def test_what_a_recipe_refuses() -> None:
    with pytest.raises(ConfigError, match="unknown precision 'half'; known: auto, float32"):
        Recipe(precision="half")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"features has to be 0 or more, not -1\.0"):
        Recipe(feature_weight=-1.0)
