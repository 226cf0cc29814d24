from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sigmaquant.calibration import Batch
from sigmaquant.divergence import (
    Distillation,
    as_values,
    divergence,
    is_class_score,
    known_by_sample,
    loss_name,
    sample_losses,
    training_loss,
)
from sigmaquant.errors import ConfigError, ModelError


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_class_scores_count_with_their_divergence() -> None:
    a, b = randn(5, 4), randn(5, 4, seed=1)
    p, q = a.softmax(1), b.softmax(1)
    expected = (p * (p / q).log()).sum(1)
    assert torch.allclose(divergence([a], [b]), expected, atol=1e-6)


def test_logits_log_probabilities_and_probabilities_count_the_same() -> None:
    a, b = randn(5, 4), randn(5, 4, seed=1)
    expected = divergence([a], [b])
    assert torch.allclose(divergence([a.softmax(1)], [b.softmax(1)]), expected, atol=1e-5)
    assert torch.allclose(divergence([a.log_softmax(1)], [b.log_softmax(1)]), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 1), (5, 3, 4), (5,)])
def test_other_outputs_count_with_their_relative_squared_error(shape: tuple[int, ...]) -> None:
    a, b = randn(*shape), randn(*shape, seed=1)
    assert not is_class_score(a)
    expected = (a - b).square().reshape(5, -1).mean(1) / a.square().mean()
    assert torch.allclose(divergence([a], [b]), expected, atol=1e-5)


def test_outputs_add_up_and_integers_do_not_count() -> None:
    a, b = randn(5, 4), randn(5, 4, seed=1)
    c, d = randn(5, 2, 3), randn(5, 2, 3, seed=1)
    both = divergence([a, c, torch.zeros(5).long()], [b, d, torch.ones(5).long()])
    assert torch.allclose(both, divergence([a], [b]) + divergence([c], [d]))


def test_nothing_is_lost_where_nothing_moves() -> None:
    a = randn(5, 4)
    assert torch.equal(divergence([a], [a]), torch.zeros(5))
    zero = torch.zeros(5, 2, 2)
    assert torch.equal(divergence([zero], [zero]), torch.zeros(5))


def test_outputs_that_tell_nothing_are_refused() -> None:
    labels = torch.zeros(5).long()
    with pytest.raises(ModelError, match=r"without its final argmax"):
        divergence([labels], [labels])


def test_a_users_loss_gives_its_mean_to_every_sample() -> None:
    scores, labels = randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    batch = Batch((randn(5, 2),), labels)
    found = sample_losses(
        (scores,), (scores,), batch, lambda outputs, y: F.cross_entropy(outputs[0], y)
    )
    assert torch.equal(found, F.cross_entropy(scores, labels).expand(5))


def by_sample(outputs: tuple[Tensor, ...], target: Tensor | None) -> Tensor:
    return outputs[0].square().mean(1)


def test_a_users_loss_has_to_be_a_scalar() -> None:
    batch, scores = Batch((randn(5, 2),)), randn(5, 4)
    with pytest.raises(ConfigError, match=r"loss by_sample gave .* \(5,\) for 5 samples"):
        sample_losses((scores,), (scores,), batch, by_sample)


def test_names_of_losses() -> None:
    assert loss_name(None) == "divergence"
    assert loss_name(by_sample) == "by_sample"
    assert loss_name(nn.CrossEntropyLoss()) == "CrossEntropyLoss"


def only_sure(outputs: tuple[Tensor, ...], reference: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Boxes weighted with the float network's own scores: (n, cells, 4) and (n, cells, 1)."""
    return (outputs[0] * reference[1], outputs[1])


def test_a_view_is_compared_in_place_of_the_outputs() -> None:
    reference = (randn(5, 7, 4), randn(5, 7, 1).sigmoid())
    outputs = (randn(5, 7, 4, seed=1), randn(5, 7, 1, seed=1).sigmoid())
    loss, batch = Distillation(only_sure), Batch((torch.zeros(5, 1),))
    weights = reference[1]
    expected = divergence(
        [reference[0] * weights, reference[1]], [outputs[0] * weights, outputs[1]]
    )
    torch.testing.assert_close(sample_losses(reference, outputs, batch, loss), expected)
    found = training_loss(reference, outputs, batch, loss)
    torch.testing.assert_close(found, expected.mean())
    assert known_by_sample(loss)
    assert loss_name(loss) == "divergence of only_sure"


def test_rows_of_values_count_with_their_relative_squared_error() -> None:
    reference, outputs = torch.randn(4, 6), torch.randn(4, 6)
    expected = (outputs - reference).square().mean(1) / reference.square().mean()
    batch, loss = Batch((torch.zeros(4, 1),)), Distillation(as_values)
    found = sample_losses((reference,), (outputs,), batch, loss)
    torch.testing.assert_close(found, expected)
    assert loss_name(loss) == "divergence of as_values"


def test_a_loss_of_labels_is_added_in_training() -> None:
    reference, outputs = (randn(5, 4),), (randn(5, 4, seed=1),)
    batch = Batch((torch.zeros(5, 1),), torch.tensor([0, 1, 2, 3, 0]))

    def loss(found: tuple[Tensor, ...], target: Tensor | None) -> Tensor:
        return F.cross_entropy(found[0], target)

    alone = training_loss(reference, outputs, batch, None)
    torch.testing.assert_close(alone, divergence(reference, outputs).mean())
    both = training_loss(reference, outputs, batch, loss)
    torch.testing.assert_close(both, alone + loss(outputs, batch.target))
    assert not known_by_sample(loss)
