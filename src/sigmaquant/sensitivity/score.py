"""``score``: calibration data in, sensitivity table out; resumable batch by batch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from sigmaquant.calibration import Batch, data_digest, read_batches
from sigmaquant.calibration.batches import in_parts
from sigmaquant.divergence import UserLoss, loss_name
from sigmaquant.errors import ConfigError, DataError
from sigmaquant.layers import ACTIVATION_WIDTHS
from sigmaquant.network import Network
from sigmaquant.progress import progress_bar
from sigmaquant.quantized import check_rounding
from sigmaquant.ranks import SINGLE, Ranks, differing_rank, only_main_logs
from sigmaquant.scores import SensitivityTable
from sigmaquant.sensitivity.accumulate import BatchRises, Sums, resume
from sigmaquant.sensitivity.candidates import (
    Candidates,
    activation_candidates,
    weight_candidates,
)
from sigmaquant.sensitivity.loss import LossMetric
from sigmaquant.sensitivity.sigma import sigma_scores, weight_sigmas
from sigmaquant.sensitivity.taylor import TaylorMetric


class Metric(Protocol):
    """A way to score candidates on one batch."""

    def rises(
        self,
        network: Network,
        batch: Batch,
        candidates: Candidates,
        loss: UserLoss | None,
        seed: int,
        advance: Callable[[], None],
    ) -> BatchRises:
        """Score every candidate on one batch.

        Args:
            network: the float network.
            batch: inputs and, for a user's loss, targets.
            candidates: rounded weights and encodings.
            loss: the user's own, or None for the divergence from the float outputs.
            seed: of this batch's random draws.
            advance: to be called after each layer.
        """
        ...


METRICS: dict[str, Metric] = {"taylor": TaylorMetric(), "loss": LossMetric()}
"""Metrics that see data, by name; "sigma" sees none."""

WITHOUT_DATA = "sigma"
_FOLDS = 4  # of the samples; see ``candidates``
_SEEDS_APART = 2**20  # more than there are batches, so that no two seeds share a batch's draws


def score(
    network: Network,
    calibration: Iterable[Any] | None = None,
    *,
    metric: str = "taylor",
    rounding: str = "compensated",
    loss: UserLoss | None = None,
    activation_widths: Sequence[int] = (),
    seed: int = 0,
    checkpoint: str | Path | None = None,
    ranks: Ranks = SINGLE,
) -> SensitivityTable:
    """How much the loss rises when one layer alone is quantized, for every layer and width.

    Args:
        network: the captured float network.
        calibration: a loader of inputs, with labels if ``loss`` needs them; only "sigma" does
            without.
        metric: "taylor" estimates all candidates from one backward pass a batch; "loss" measures
            each of them; "sigma" looks at the weights alone.
        rounding: how candidates are rounded: "compensated", "coded" or "nearest" (see
            ``quantize``).
        loss: the user's own loss, from outputs and target to a scalar; by default the divergence
            from the float network's outputs, which needs no labels; or a ``Distillation``.
        activation_widths: score activations at these widths too, for devices that run several.
        seed: of every random draw.
        checkpoint: a file in which progress is kept, so that a killed run goes on; removed at the
            end.
        ranks: processes that share the work, each of which calls this with the same arguments and
            gets the same table, the one that a single process would make (see
            ``launched_ranks``).

    Raises:
        ConfigError: unknown metric, rounding or activation width, a metric that needs data, or a
            loss that is no scalar.
        DataError: unusable data, data that differ between processes, or a loss that is not finite.
        ArtifactError: the checkpoint is damaged.
        OutputError: the checkpoint cannot be written.
        PeerError: another process ended.
    """
    _check_options(metric, rounding, activation_widths, calibration)
    if metric == WITHOUT_DATA:
        return sigma_scores(network)
    assert calibration is not None
    batches = in_parts(read_batches(calibration, network, what="calibration"), network, _FOLDS)
    widths = tuple(sorted(set(activation_widths)))
    named = loss_name(loss)
    options = f"{metric} {rounding} {seed} {named} {widths}"
    inputs = _digest(network.digest(), data_digest(batches), options)
    _check_same_data(ranks, inputs)
    path = None if checkpoint is None else Path(checkpoint)
    before = ranks.from_main(lambda: resume(path, inputs))
    folds = 1 if rounding == "nearest" else min(_FOLDS, len(batches))
    encodings = activation_candidates(network, batches, widths, ranks)
    candidates = [
        Candidates(weights, encodings)
        for weights in weight_candidates(network, batches, rounding, folds, ranks)
    ]
    work = _Work(inputs, network, batches, candidates, METRICS[metric], loss, seed)
    sums = _summed(work, before, path, ranks)
    return SensitivityTable(
        metric=metric,
        loss=named,
        rounding=rounding,
        float_loss=sums.float_loss / sums.samples,
        samples=sums.samples,
        seed=seed,
        inputs=inputs,
        scores=sums.weights.scores(sums.samples, sums.independent),
        activation_scores=sums.activations.scores(sums.samples, sums.independent),
        weight_sigmas=weight_sigmas(network),
        entropy_bits={
            layer: {bits: float(found.entropy_bits) for bits, found in by_width.items()}
            for layer, by_width in candidates[0].weights.items()
        },
    )


@dataclass(frozen=True)
class _Work:
    """All batches to be scored.

    Attributes:
        inputs: hash of all that the scores depend on.
        candidates: for each fold of the batches.
        network, batches, metric, loss, seed: see ``score``.
    """

    inputs: str
    network: Network
    batches: Sequence[Batch]
    candidates: Sequence[Candidates]
    metric: Metric
    loss: UserLoss | None
    seed: int

    def sums_of(self, number: int, advance: Callable[[], None]) -> Sums | None:
        """The scores of one batch; None behind the last one."""
        if number >= len(self.batches):
            return None
        own = (self.seed * _SEEDS_APART + number) % 2**63  # as large as torch takes
        batch, candidates = self.batches[number], self.candidates[number % len(self.candidates)]
        rises = self.metric.rises(self.network, batch, candidates, self.loss, own, advance)
        return Sums.of(rises, self.inputs)


def _summed(work: _Work, sums: Sums, checkpoint: Path | None, ranks: Ranks) -> Sums:
    """The sums of all batches: each rank scores one at a time, and all add them up in order.

    So every total is the sum that one process would get, to the bit, and progress that any number
    of ranks have made is progress for any other.
    """
    rounds = range(sums.batches, len(work.batches), ranks.count)
    steps = len(rounds) * len(work.candidates[0].weights)
    with only_main_logs(ranks), progress_bar("scoring", steps) as advance:
        for first in rounds:
            for part in ranks.together(partial(work.sums_of, first + ranks.index, advance)):
                sums = sums if part is None else _checked(sums + part)
            if checkpoint is not None:
                ranks.from_main(partial(sums.save, checkpoint))
    if checkpoint is not None:
        ranks.from_main(partial(checkpoint.unlink, missing_ok=True))
    return sums


def _check_same_data(ranks: Ranks, inputs: str) -> None:
    other = differing_rank(ranks, inputs)
    if other is not None:
        raise DataError(
            f"process {other} has read other calibration data, or another network, than process 0; "
            "shuffle and augment with a fixed seed, or not at all"
        )


def _check_options(
    metric: str, rounding: str, activation_widths: Sequence[int], calibration: object | None
) -> None:
    known = (*METRICS, WITHOUT_DATA)
    if metric not in known:
        raise ConfigError(f"unknown metric {metric!r}; known: {', '.join(known)}")
    check_rounding(rounding)
    odd = [bits for bits in activation_widths if bits not in ACTIVATION_WIDTHS]
    if odd:
        widths = ", ".join(map(str, ACTIVATION_WIDTHS))
        raise ConfigError(f"activations cannot have {odd[0]} bits; known: {widths}")
    if metric != WITHOUT_DATA and calibration is None:
        raise ConfigError(
            f"the metric {metric!r} needs calibration data: a few hundred typical inputs, without "
            f"labels; only {WITHOUT_DATA!r} does without"
        )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _checked(sums: Sums) -> Sums:
    for totals in (sums.weights, sums.activations):
        for name, by_width in totals.first.items():
            for bits, total in by_width.items():
                if not math.isfinite(total):
                    raise DataError(
                        f"the loss is not finite with {name} at {bits} bits; check the loss "
                        "function and the scale of the inputs"
                    )
    return sums
