from __future__ import annotations

import pytest
import torch

from sigmaquant.errors import ConfigError
from sigmaquant.finetune.damping import dampen
from sigmaquant.finetune.recipe import Recipe
from sigmaquant.quantized import QuantizedNetwork
from tests import nets


def moved() -> QuantizedNetwork:
    """Weights anywhere between their levels."""
    student = nets.quantized("resnet", 4).copy()
    torch.manual_seed(0)
    with torch.no_grad():
        for layer in student.network.layer_nodes():
            scale = student.weight_quantizer(layer).safe_scale()
            weight = student.weight(layer)
            weight.add_((torch.rand_like(weight) - 0.5) * 0.9 * scale)
    return student


def distance(student: QuantizedNetwork) -> float:
    """The largest distance to the middle of a level, in steps."""
    distances = []
    for layer in student.network.layer_nodes():
        quantizer, weight = student.weight_quantizer(layer), student.weight(layer).detach()
        distances.append(weight / quantizer.safe_scale() - quantizer.levels(weight))
    return max(float(d.detach().abs().max()) for d in distances)


@pytest.mark.parametrize(("done", "left"), [(0.0, 1.0), (0.5, 0.75), (1.0, 0.5)])
def test_weights_go_to_the_middle_of_their_level_the_faster_the_later(
    done: float, left: float
) -> None:
    student = moved()
    layers = list(student.network.layer_nodes())
    levels = [student.weight_quantizer(x).levels(student.weight(x).detach()) for x in layers]
    before = distance(student)
    dampen(student, 0.5, done)
    assert distance(student) == pytest.approx(left * before, rel=1e-4)
    for layer, kept in zip(layers, levels, strict=True):
        quantizer = student.weight_quantizer(layer)
        assert torch.equal(quantizer.levels(student.weight(layer).detach()), kept)


@pytest.mark.parametrize("damping", [-0.1, 1.1, float("nan")])
def test_a_damping_that_is_no_part_is_refused(damping: float) -> None:
    with pytest.raises(ConfigError, match="damping has to lie between 0 and 1"):
        Recipe(damping=damping)
