"""The whole story: from a trained network to a verified file and a report.

capture -> score -> search -> quantize -> fine-tune -> lower -> export -> evaluate -> report

Every result is kept in the run's folder, so that a run that was killed goes on where it stopped
and a run with other settings repeats only what they change (see ``run_directory``).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import Budget
from sigmaquant.calibration import Batch, data_digest, read_batches, samples_of
from sigmaquant.calibration.batches import as_batch
from sigmaquant.config import RunConfig
from sigmaquant.data import DataSource, as_source, example_inputs, hold_back, load_network
from sigmaquant.devices import DeviceProfile, load_profile
from sigmaquant.divergence import UserLoss
from sigmaquant.errors import ConfigError, DataError, GateError
from sigmaquant.evaluation import has_class_labels
from sigmaquant.network import Network, capture
from sigmaquant.quantized import QuantizedNetwork
from sigmaquant.report import RunReport, write_report
from sigmaquant.run_directory import RunDirectory
from sigmaquant.run_report import Findings, build_report
from sigmaquant.run_stages import RunStages
from sigmaquant.search import check_feasible
from sigmaquant.stages import limited_by_memory


@dataclass(frozen=True)
class Result:
    """What a run found.

    Attributes:
        plan: the widths.
        network: the quantized network, fine-tuned where there were training data.
        report: everything else.
    """

    plan: BitPlan
    network: QuantizedNetwork
    report: RunReport


def optimize(
    model: nn.Module | Network,
    example_input: Tensor | Sequence[Tensor] | None = None,
    *,
    calibration: Iterable[Any],
    device: str | Path | DeviceProfile,
    budget: Budget,
    train: Iterable[Any] | None = None,
    evaluation: Iterable[Any] | None = None,
    out: str | Path | None = None,
    epochs: int = 5,
    strategy: str = "exact",
    activation_bits: int = 8,
    rounding: str = "compensated",
    calibration_samples: int = 512,
    loss: UserLoss | None = None,
    seed: int = 0,
    max_drop: float | None = None,
) -> Result:
    """Give every layer its width for a device, and repair, export, verify and report.

    Args:
        model: a trained model, or a captured network.
        example_input: a batch of inputs to capture the model with; by default the first batch of
            the calibration data.
        calibration: loader of inputs like those in use; a quarter is held back to judge plans.
        device: a shipped profile's name, a TOML file, or a profile.
        budget: hard limits; the device's own memory is one too.
        train: loader of training data, (inputs, labels) or inputs alone; without it there is no
            fine-tuning.
        evaluation: loader of labelled data that the accuracy is reported on; by default the
            held-back calibration data.
        out: folder for all results; a second run in it goes on where the first one stopped. Data
            that torch cannot tell apart by type and size count as the same. Without it nothing
            is kept but what is returned.
        epochs: of fine-tuning; 0 for none.
        strategy: how the widths are chosen.
        activation_bits: width of all activations.
        rounding: of the weights, "compensated" or "nearest".
        calibration_samples: so many at most are read.
        loss: the user's own, from outputs and target to a scalar; by default the divergence from
            the float network's outputs.
        seed: of every random draw.
        max_drop: largest drop of the accuracy, in percentage points.

    Raises:
        GateError: the accuracy dropped by more than ``max_drop``; the report has been written.
        InfeasibleError: no plan meets the budget.
        InputError: its subclasses say what cannot be used as given.
        VerificationError: the exported file does not compute what it should.
    """
    config = RunConfig().overridden(
        {
            "search": {
                "strategy": strategy,
                "rounding": rounding,
                "activation_bits": activation_bits,
            },
            "finetune": {"epochs": epochs},
            "data": {"calibration_samples": calibration_samples},
            "gates": {"max_drop": max_drop},
            "run": {"seed": seed, "out": None if out is None else str(out)},
        }
    )
    source = as_source(calibration)
    if not isinstance(model, Network):
        model = capture(model, example_inputs(source) if example_input is None else example_input)
    result = _run(
        config,
        network=model,
        calibration=source,
        training=None if train is None else as_source(train),
        evaluation=None if evaluation is None else as_source(evaluation),
        profile=device if isinstance(device, DeviceProfile) else load_profile(device),
        budget=budget,
        loss=loss,
    )
    check_gates(result.report, config)
    return result


def run_config(config: RunConfig, command: str | None = None) -> Result:
    """Do what a configuration asks for; its gates are left to ``check_gates``.

    Args:
        config: complete (see ``RunConfig.completed``).
        command: the shell command that asked for it, for the report.

    Raises:
        InputError, InfeasibleError, VerificationError: see ``optimize``.
    """
    model, data, target = config.model, config.data, config.target
    assert model.factory is not None
    assert data.calibration is not None
    assert target.device is not None
    profile, budget = load_profile(target.device), target.budget()
    source = data.open(data.calibration)
    return _run(
        config,
        network=load_network(model.factory, model.weights, lambda: example_inputs(source)),
        calibration=source,
        training=data.open(data.training, shuffle=True, seed=config.run.seed)
        if data.training
        else None,
        evaluation=data.open(data.evaluation) if data.evaluation else None,
        profile=profile,
        budget=budget,
        command=command,
    )


def check_gates(report: RunReport, config: RunConfig) -> None:
    """Raise GateError where the result exceeds a limit that the user set on it."""
    limit = config.gates.max_drop
    before, after = report.quality_at("float", "accuracy"), report.final_quality("accuracy")
    if limit is None or before is None or after is None:
        return
    drop = 100 * (before.value - after.value)
    if drop > limit:
        raise GateError(
            f"the accuracy dropped by {drop:.2f} points, from {100 * before.value:.2f} % to "
            f"{100 * after.value:.2f} %; the limit is {limit:g}. Raise the budget, train longer, "
            "or allow a larger drop"
        )


def _run(
    config: RunConfig,
    *,
    network: Network,
    calibration: DataSource,
    training: DataSource | None,
    evaluation: DataSource | None,
    profile: DeviceProfile,
    budget: Budget,
    loss: UserLoss | None = None,
    command: str | None = None,
) -> Result:
    with ExitStack() as cleanup:
        out = config.run.out or cleanup.enter_context(tempfile.TemporaryDirectory())
        batches = read_batches(calibration, network, config.data.calibration_samples)
        unit = network.batch_size or 1
        kept, held = hold_back(batches, config.data.hold_back, config.run.seed, unit)
        stages = RunStages(
            folder=RunDirectory(out),
            config=config,
            network=network,
            calibration=kept,
            held_back=held,
            profile=profile,
            budget=limited_by_memory(budget, profile),
            loss=loss,
        )
        return _story(stages, budget, training, evaluation, command)


def _story(
    stages: RunStages,
    asked: Budget,
    training: DataSource | None,
    evaluation: DataSource | None,
    command: str | None,
) -> Result:
    """All stages in order."""
    config = stages.config
    judge = _judge(evaluation, stages)
    _check_data(config, stages.network, judge, training)
    stages.capture()
    costs = stages.costs()
    check_feasible(costs, stages.budget, config.search.activation_bits)
    scores = stages.score()
    solution = stages.search(scores, costs)
    quantized = stages.quantize(solution.plan)
    finetuned = None
    if training is not None and config.finetune.epochs > 0:
        finetuned = stages.finetune(solution.plan, training)
    program = stages.lower(quantized, finetuned)
    verification = stages.export(program)
    quality = stages.evaluate(quantized, finetuned, judge.batches, judge.digest)
    report = build_report(
        Findings(
            table=stages.network.table,
            profile=stages.profile,
            costs=costs,
            asked=asked,
            scores=scores,
            solution=solution,
            evaluation=quality,
            held_back_only=evaluation is None,
            verification=verification,
            file=config.export.file,
            seconds=stages.folder.seconds,
            held_back_samples=samples_of(stages.held_back),
        ),
        seed=config.run.seed,
        command=command,
    )
    write_report(report, stages.folder.folder)
    return Result(
        plan=solution.plan, network=quantized if finetuned is None else finetuned, report=report
    )


@dataclass(frozen=True)
class _Judge:
    """The data that the quality is measured on, and their digest."""

    batches: Callable[[], Iterable[Batch]]
    digest: str


def _judge(evaluation: DataSource | None, stages: RunStages) -> _Judge:
    if evaluation is None:
        return _Judge(lambda: stages.held_back, data_digest(stages.held_back))
    return _Judge(lambda: _checked(evaluation, stages.network, "evaluation"), evaluation.digest)


def _checked(source: DataSource, network: Network, what: str) -> Iterator[Batch]:
    for index, item in enumerate(source):
        yield as_batch(item, network, f"{what} batch {index}")


def _check_data(
    config: RunConfig, network: Network, judge: _Judge, training: DataSource | None
) -> None:
    """Look at the first batch of everything, before hours of work depend on it."""
    labelled = has_class_labels(network, judge.batches())
    if config.gates.max_drop is not None and not labelled:
        raise ConfigError(
            "max_drop limits the drop of the accuracy, and the evaluation data have no labels "
            "that are classes of the network; give labelled evaluation data or leave it out"
        )
    if training is not None and next(_checked(training, network, "training"), None) is None:
        raise DataError("the training data have no batch; check their source and filters")
