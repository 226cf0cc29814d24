"""The loss of a plan, measured: the network quantized with it, run on data held back for this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch

from sigmaquant.calibration import Batch, samples_of
from sigmaquant.divergence import Outputs, UserLoss, known_by_sample, sample_losses
from sigmaquant.network import Network
from sigmaquant.network.runner import flatten
from sigmaquant.quantized import PlanQuantizer, QuantizedNetwork
from sigmaquant.search import Measure
from sigmaquant.search.arrays import FloatArray


def plan_measure(
    network: Network,
    calibration: Sequence[Batch],
    held_back: Sequence[Batch],
    *,
    rounding: str = "compensated",
    loss: UserLoss | None = None,
) -> Measure:
    """A measure of plans without training: what each of the held-back samples loses.

    The divergence from the float network's outputs, or of a view of them, is known for each sample.
    A user's loss of labels is a mean over a batch: the mean over all samples is all there is of it.

    Args:
        network: the float network.
        calibration: what each plan is rounded with.
        held_back: what it is measured on.
        rounding: see ``quantize``.
        loss: the user's own.

    Raises:
        ConfigError, DataError: see ``quantize``.
    """
    quantizer = PlanQuantizer(network, calibration, rounding)
    losses = network_measure(network, held_back, loss)
    return lambda plan: losses(quantizer(plan))


def network_measure(
    network: Network, held_back: Sequence[Batch], loss: UserLoss | None = None
) -> Callable[[QuantizedNetwork], FloatArray | float]:
    """A measure of quantized networks, trained or not: as ``plan_measure``, once it has rounded.

    Args:
        network: the float network.
        held_back: what they are measured on.
        loss: the user's own.
    """

    @cache
    def references() -> tuple[Outputs, ...]:
        with torch.no_grad():
            return tuple(network(*batch.inputs) for batch in held_back)

    def measure(quantized: QuantizedNetwork) -> FloatArray | float:
        with torch.no_grad():
            losses = [
                sample_losses(reference, tuple(flatten(quantized(*batch.inputs))), batch, loss)
                for reference, batch in zip(references(), held_back, strict=True)
            ]
        values = torch.cat(losses).double().numpy()
        assert len(values) == samples_of(held_back)
        return values if known_by_sample(loss) else float(values.mean())

    return measure
