"""The whole story: from a trained network to a verified file and a report.

capture -> check calibration data -> score -> search -> quantize -> fine-tune (-> revise the plan ->
fine-tune again) -> lower -> export -> evaluate -> report

Every result is kept in the run's folder, so that a run that was killed goes on where it stopped
and a run with other settings repeats only what they change (see ``run_directory``). Where a
launcher started several processes, they make the run together.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import Budget
from sigmaquant.calibration import Batch, data_digest, read_batches, samples_of
from sigmaquant.calibration.batches import checked_batches
from sigmaquant.config import RunConfig
from sigmaquant.data import DataSource, as_source, example_inputs, hold_back, load_network
from sigmaquant.devices import DeviceProfile
from sigmaquant.divergence import UserLoss, loss_name
from sigmaquant.errors import ConfigError, DataError, GateError
from sigmaquant.evaluation import has_class_labels
from sigmaquant.finetune import AugmentedBatches
from sigmaquant.launch import launched_ranks
from sigmaquant.lowering import check_widths
from sigmaquant.network import Network, capture
from sigmaquant.quantized import QuantizedNetwork
from sigmaquant.ranks import Ranks, only_main_logs
from sigmaquant.report import RunReport, write_report
from sigmaquant.run_directory import RunDirectory
from sigmaquant.run_report import Findings, build_report
from sigmaquant.run_stages import RunStages
from sigmaquant.run_tuning import tune
from sigmaquant.search import check_feasible
from sigmaquant.stages import (
    check_exportable,
    limited_by_memory,
    rounding_for,
    target_profile,
)


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
    runtime: str | Path | None = None,
    budget: Budget,
    train: Iterable[Any] | Literal["calibration"] | None = None,
    evaluation: Iterable[Any] | None = None,
    deployment: Iterable[Any] | None = None,
    out: str | Path | None = None,
    reconstruct: int = 0,
    epochs: int = 5,
    learning_rate: float | None = None,
    mirrored: bool = False,
    feature_weight: float = 0.0,
    damping: float = 0.0,
    precision: str = "float32",
    memory: str | int | None = None,
    revise: bool = False,
    strategy: str = "exact",
    activation_bits: int | None = None,
    metric: str = "taylor",
    rounding: str | None = None,
    calibration_samples: int = 512,
    loss: UserLoss | None = None,
    format: str = "onnx",  # noqa: A002  (the user's word for it)
    coded: bool = False,
    seed: int = 0,
    max_drop: float | None = None,
) -> Result:
    """Give every layer its width for a device, and repair, export, verify and report.

    In a script that ``accelerate launch`` starts several times, to be called in every process: they
    share the work and all get the result.

    Args:
        model: a trained model, or a captured network.
        example_input: a batch of inputs to capture the model with; by default the first batch of
            the calibration data.
        calibration: loader of inputs like those in use; a quarter is held back to judge plans.
        device: a shipped profile's name, a TOML file, or a profile.
        runtime: what will run there, such as "litert-fast" or a TOML file; widths are chosen for
            what it stores and runs. By default that of the format, and for formats that are for no
            one runtime the stack that the profile describes.
        budget: hard limits; the device's own memory is one too.
        train: loader of training data, (inputs, labels) or inputs alone; or "calibration" for the
            calibration data that are not held back, without labels, images moved a little each
            time. Without it there is no fine-tuning.
        evaluation: loader of labelled data that the accuracy is reported on; by default the
            held-back calibration data.
        deployment: loader of data as they occur in use, labels not needed, which the calibration
            data are compared with; by default the evaluation data.
        out: folder for all results; a second run in it goes on where the first one stopped. Data
            that torch cannot tell apart by type and size count as the same, and so do losses of
            one name. Without it nothing is kept but what is returned. Processes on several
            machines need one that all of them see.
        reconstruct: steps of block reconstruction on each block, on the calibration data; 0 for
            none.
        epochs: of fine-tuning; 0 for none.
        learning_rate: of fine-tuning, at its start; see ``finetune``.
        mirrored: whether calibration images that are trained on mean the same in a mirror.
        feature_weight: of intermediate values in fine-tuning; see ``finetune``.
        damping: of weights that oscillate between two levels in fine-tuning; see ``finetune``.
        precision: of fine-tuning, "float32", "bfloat16" or "auto".
        memory: that a step of fine-tuning may take, such as "2 GiB".
        revise: revise the plan once after fine-tuning, by measuring its neighbours on the trained
            network, and fine-tune again; the better of the two networks is the result.
        strategy: how the widths are chosen: "exact", "greedy", "sigma" or "refine".
        activation_bits: width of all activations. By default each precision group's is chosen where
            the device runs several, and is its native one elsewhere.
        metric: how sensitivity is measured, "taylor", "loss" or "sigma".
        rounding: of the weights, "compensated", "coded" or "nearest" (see ``quantize``); by
            default the first, and the second for weights in code.
        calibration_samples: so many at most are read.
        loss: the user's own, from outputs and target to a scalar; by default the divergence from
            the float network's outputs.
        format: of the exported file, such as "onnx", "tflite" or "c"; see ``export`` for all.
        coded: write the weights of an ONNX file in a prefix code, about a quarter smaller than
            their widths; these and the weights' steps are chosen for it.
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
                "metric": metric,
                "rounding": rounding,
                "activation_bits": activation_bits,
            },
            "quantize": {"reconstruct": reconstruct},
            "finetune": {
                "epochs": epochs,
                "data": train if isinstance(train, str) else None,
                "mirrored": mirrored,
                "learning_rate": learning_rate,
                "feature_weight": feature_weight,
                "damping": damping,
                "precision": precision,
                "memory": memory,
                "revise": revise,
            },
            "export": {"format": format, "coded": coded},
            "target": {"runtime": None if runtime is None else str(runtime)},
            "data": {"calibration_samples": calibration_samples},
            "gates": {"max_drop": max_drop},
            "run": {"seed": seed, "out": None if out is None else str(out)},
        }
    )
    source = as_source(calibration, "calibration")
    if not isinstance(model, Network):
        model = capture(model, example_inputs(source) if example_input is None else example_input)
    task = _Task(
        network=model,
        calibration=source,
        training=None if train is None or isinstance(train, str) else as_source(train, "training"),
        evaluation=None if evaluation is None else as_source(evaluation, "evaluation"),
        deployment=None if deployment is None else as_source(deployment, "deployment"),
        profile=target_profile(device, config.runtime),
        budget=budget,
        loss=loss,
    )
    result = _run(config, task)
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
    calibration = data.open(data.calibration)
    training = evaluation = deployment = None
    if data.training is not None:
        training = data.open(data.training, shuffle=True, seed=config.run.seed)
    if data.evaluation is not None:
        evaluation = data.open(data.evaluation)
    if data.deployment is not None:
        deployment = data.open(data.deployment)
    task = _Task(
        network=load_network(
            model.factory,
            model.weights,
            lambda _: example_inputs(calibration),
            dequantize=model.dequantize,
            float_layers=model.float_layers,
        ),
        calibration=calibration,
        training=training,
        evaluation=evaluation,
        deployment=deployment,
        profile=target_profile(target.device, config.runtime),
        budget=target.budget(),
        command=command,
    )
    return _run(config, task)


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


@dataclass(frozen=True)
class _Task:
    """What a run works on, loaded but not yet read.

    Attributes:
        network: the captured float network.
        calibration, training, evaluation, deployment: data; without training data nothing is
            fine-tuned.
        profile: of the device.
        budget: as the user set it.
        loss: the user's own.
        command: the shell command that asked for the run.
    """

    network: Network
    calibration: DataSource
    training: DataSource | None
    evaluation: DataSource | None
    deployment: DataSource | None
    profile: DeviceProfile
    budget: Budget
    loss: UserLoss | None = None
    command: str | None = None


def _run(config: RunConfig, task: _Task) -> Result:
    """Every stage, one after the other."""
    ranks = launched_ranks()
    with ExitStack() as cleanup:
        cleanup.enter_context(only_main_logs(ranks))
        stages = _open(config, task, ranks, cleanup)
        judge = _judge(task, stages)
        _check_early(config, task, judge)

        stages.capture()
        expected = stages.expected_costs()
        budget, runtime = stages.budget, task.profile.runtime
        if runtime is not None and runtime.code is not None:
            # How short a code can get is known after scoring only.
            budget = budget.model_copy(update={"flash_bytes": None})
        check_feasible(expected, budget, config.search.activation_bits)
        check = stages.check(task.deployment, task.evaluation)
        scores = stages.score(expected)
        costs = stages.costs(scores)
        solution = stages.search(scores, costs)
        check_widths(solution.plan)
        quantized = stages.quantize(solution.plan)
        tuned = None
        training = _training_data(config, task, stages)
        if training is not None and config.finetune.epochs > 0:
            tuned = tune(stages, solution, scores, costs, quantized, training)
            solution = tuned.solution
        network, made_by = (tuned.network, tuned.made_by) if tuned else (quantized, "quantize")
        verification = stages.export(stages.lower(network, made_by))
        evaluation = stages.evaluate(quantized, tuned, judge.batches, judge.digest)

        findings = Findings(
            table=task.network.table,
            float_layers=task.network.float_layers,
            profile=task.profile,
            costs=costs,
            asked=task.budget,
            scores=scores,
            solution=solution,
            evaluation=evaluation,
            held_back_only=task.evaluation is None,
            verification=verification,
            file=config.export.file_name,
            file_format=config.export.format,
            seconds=stages.folder.seconds,
            held_back_samples=samples_of(stages.held_back),
            plan_loss=loss_name(task.loss),
            check=check,
            revision=tuned.revision if tuned else None,
        )
        report = build_report(findings, seed=config.run.seed, command=task.command)
        ranks.from_main(lambda: write_report(report, stages.folder.folder))
    return Result(solution.plan, network, report)


def _open(config: RunConfig, task: _Task, ranks: Ranks, cleanup: ExitStack) -> RunStages:
    """The stages in their folder, with the calibration data read and split."""
    out = config.run.out or ranks.from_main(
        lambda: cleanup.enter_context(tempfile.TemporaryDirectory())
    )
    folder = RunDirectory(out, ranks)
    limit = config.data.calibration_samples
    batches = read_batches(task.calibration, task.network, limit, what="calibration")
    kept, held = hold_back(
        batches, config.data.hold_back, config.run.seed, task.network.batch_size or 1
    )
    return RunStages(
        folder=folder,
        config=config,
        network=task.network,
        calibration=kept,
        held_back=held,
        profile=task.profile,
        budget=limited_by_memory(task.budget, task.profile),
        loss=task.loss,
    )


def _training_data(config: RunConfig, task: _Task, stages: RunStages) -> DataSource | None:
    """What is trained on, if anything is."""
    if config.finetune.data == "training":
        return task.training
    mirrored, batch_size = config.finetune.mirrored, task.network.batch_size
    batches = AugmentedBatches(stages.calibration, batch_size, mirrored=mirrored)
    # The samples are in the digests of the calibration data, on which fine-tuning depends anyway.
    return DataSource(batches, digest=f"calibration, mirrored: {mirrored}")


@dataclass(frozen=True)
class _Judge:
    """The data that the quality is measured on, and their digest."""

    batches: Callable[[], Iterable[Batch]]
    digest: str


def _judge(task: _Task, stages: RunStages) -> _Judge:
    source = task.evaluation
    if source is None:
        return _Judge(lambda: stages.held_back, data_digest(stages.held_back))
    return _Judge(lambda: checked_batches(source, task.network, "evaluation"), source.digest)


def _check_early(config: RunConfig, task: _Task, judge: _Judge) -> None:
    """Find what would stop the run late, before hours of work depend on it."""
    check_exportable(task.network, config.export.format, config.export.options)
    rounding_for(task.profile, config.search.rounding)
    labelled = has_class_labels(task.network, judge.batches())
    if config.gates.max_drop is not None and not labelled:
        raise ConfigError(
            "max_drop limits the drop of the accuracy, and the evaluation data have no labels "
            "that are classes of the network; give labelled evaluation data or leave it out"
        )
    if task.training is not None and config.finetune.data == "calibration":
        raise ConfigError(
            "fine-tuning is to use the calibration data, and training data are given too; leave "
            "out one of them"
        )
    has_data = task.training is not None or config.finetune.data == "calibration"
    if config.finetune.revise and not (has_data and config.finetune.epochs):
        raise ConfigError(
            "the plan is to be revised after fine-tuning, and there is none: give training data, "
            "or let it use the calibration data, and at least one epoch"
        )
    if task.training is not None:
        first = next(checked_batches(task.training, task.network, "training"), None)
        if first is None:
            raise DataError("the training data have no batch; check their source and filters")
