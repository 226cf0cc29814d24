"""The stages of a run, each kept in the run's folder with what it depends on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import Budget
from sigmaquant.calibration import Batch, check_calibration, data_digest
from sigmaquant.calibration_check import CalibrationCheck, ComparedWith
from sigmaquant.config import RunConfig
from sigmaquant.costs import CostTable, cost_table
from sigmaquant.data import DataSource
from sigmaquant.devices import DeviceProfile
from sigmaquant.divergence import UserLoss, loss_name
from sigmaquant.evaluation import (
    Evaluation,
    evaluate_states,
    exported_run,
    float_run,
    quantized_run,
)
from sigmaquant.export.formats import check_stored_bits, export_program
from sigmaquant.finetune import finetune
from sigmaquant.layers import ACTIVATION_WIDTHS
from sigmaquant.lowering import IntegerProgram, load_program, lower, save_program
from sigmaquant.metrics import Run
from sigmaquant.network import Network
from sigmaquant.plan_loss import plan_measure
from sigmaquant.quantized import QuantizedNetwork, quantize
from sigmaquant.reconstruction import reconstruct
from sigmaquant.report.model import Revision, Stage
from sigmaquant.run_directory import Form, RunDirectory, artifact_form, fingerprint, record_form
from sigmaquant.search import Solution, search
from sigmaquant.sensitivity import SensitivityTable, score
from sigmaquant.stages import real_inputs, rounding_for

if TYPE_CHECKING:
    from sigmaquant.export.verification import Verification

logger = logging.getLogger(__name__)


TrainingStage = Literal["finetune", "finetune_again"]
_TRAINED_FILES: dict[TrainingStage, str] = {
    "finetune": "finetuned.safetensors",
    "finetune_again": "finetuned_again.safetensors",
}


@dataclass(frozen=True)
class Tuned:
    """What training came to.

    Attributes:
        solution: the plan, revised or not.
        network: under that plan.
        made_by: the stage that trained it.
        revision: what came of revising the plan, if that was asked for.
    """

    solution: Solution
    network: QuantizedNetwork
    made_by: TrainingStage
    revision: Revision | None = None


@dataclass(frozen=True)
class RunStages:
    """One run's stages; each method is one arrow of the pipeline.

    Attributes:
        folder: where results are kept.
        config: settings; what it names has been loaded into the fields below.
        network: the captured float network.
        calibration: samples to score and to round with.
        held_back: samples to judge plans and training by.
        profile: of the device.
        budget: hard limits, the device's memory included.
        loss: the user's own, or None for the divergence from the float outputs.
    """

    folder: RunDirectory
    config: RunConfig
    network: Network
    calibration: tuple[Batch, ...]
    held_back: tuple[Batch, ...]
    profile: DeviceProfile
    budget: Budget
    loss: UserLoss | None

    def capture(self) -> None:
        """Keep the network; capturing itself is what tells whether it has changed."""
        self.folder.stage(
            "capture",
            "network.pt2",
            inputs=[self._network_digest],
            make=lambda: self.network,
            form=Form(save=Network.save, load=lambda _: self.network),
        )

    def expected_costs(self) -> CostTable:
        """What every choice costs on the device, as far as is known before scoring."""
        check_stored_bits(self.config.export.format, self.profile)
        return cost_table(self.network.table, self.profile)

    def costs(self, scores: SensitivityTable) -> CostTable:
        """What every choice costs on the device."""
        table = self.network.table
        return self.folder.stage(
            "costs",
            "costs.json",
            inputs=[table.digest(), self.profile.model_dump(mode="json"), scores.digest()],
            make=lambda: cost_table(table, self.profile, scores),
            form=artifact_form(CostTable),
        )

    def check(
        self, deployment: DataSource | None, evaluation: DataSource | None
    ) -> CalibrationCheck:
        """Whether the calibration data look like those from deployment, else from evaluation."""
        compared_with: ComparedWith = "evaluation" if deployment is None else "deployment"
        source = evaluation if deployment is None else deployment
        seed = self.config.run.seed
        found = self.folder.stage(
            "check",
            "check.json",
            inputs=[
                *self.data_digests,
                None if source is None else source.digest,
                compared_with,
                seed,
            ],
            make=lambda: check_calibration(
                self.network,
                (*self.calibration, *self.held_back),
                source,
                compared_with=compared_with,
                seed=seed,
            ),
            form=artifact_form(CalibrationCheck),
        )
        for finding in found.warnings:
            logger.info("check: %s", finding.text)
        return found

    def score(self, costs: CostTable) -> SensitivityTable:
        """How much layers suffer from every width, and activations where there is a choice."""
        settings, seed = self.config.search, self.config.run.seed
        chosen = costs.activation_choices if settings.activation_bits is None else ()
        activation_widths = tuple(bits for bits in chosen if bits in ACTIVATION_WIDTHS)
        return self.folder.stage(
            "score",
            "scores.json",
            inputs=[
                *self.data_digests,
                settings.metric,
                self.rounding,
                activation_widths,
                seed,
                loss_name(self.loss),
            ],
            make=lambda: score(
                self.network,
                self.calibration,
                metric=settings.metric,
                rounding=self.rounding,
                loss=self.loss,
                activation_widths=activation_widths,
                seed=seed,
                checkpoint=self.folder.path("scores.partial"),
                ranks=self.folder.ranks,
            ),
            form=artifact_form(SensitivityTable),
            shared=True,
        )

    def search(self, scores: SensitivityTable, costs: CostTable) -> Solution:
        """The best plan, compared with all uniform ones by measured loss."""
        settings = self.config.search
        solution = self.folder.stage(
            "search",
            "solution.json",
            inputs=[
                *self.data_digests,
                scores.digest(),
                costs.digest(),
                self.budget.limits(),
                settings.strategy,
                self.rounding,
                settings.activation_bits,
                loss_name(self.loss),
            ],
            make=lambda: self._searched(scores, costs),
            form=artifact_form(Solution),
        )
        self.save_plan(solution.plan)
        return solution

    def save_plan(self, plan: BitPlan) -> None:
        """Write the plan by itself, for other commands and for people."""
        self.folder.ranks.from_main(lambda: plan.save(self.folder.path("plan.json")))

    def quantize(self, plan: BitPlan) -> QuantizedNetwork:
        """The network with the plan applied, without training."""
        return self.folder.stage(
            "quantize",
            "quantized.safetensors",
            inputs=[
                *self.data_digests,
                plan.digest(),
                self.rounding,
                *(["mirrored"] if self.config.quantize.mirrored else []),
                *self._reconstruction,
            ],
            make=lambda: self._quantized(plan),
            form=self._quantized_form,
        )

    def finetune(self, quantized: QuantizedNetwork, training: DataSource) -> QuantizedNetwork:
        """The quantized network after training."""
        return self._trained("finetune", quantized, "quantize", training)

    def finetune_again(self, revised: QuantizedNetwork, training: DataSource) -> QuantizedNetwork:
        """The network after training under the revised plan."""
        return self._trained("finetune_again", revised, "revise", training)

    def lower(self, network: QuantizedNetwork, made_by: str) -> IntegerProgram:
        """The integer record of a stage's network."""
        return self.folder.stage(
            "lower",
            "program.safetensors",
            inputs=[self.folder.content(made_by)],
            make=lambda: lower(network),
            form=Form(save=save_program, load=load_program),
        )

    def export(self, program: IntegerProgram) -> Verification:
        """The file for the runtime, compared with the integer reference."""
        from sigmaquant.export.verification import Verification

        settings = self.config.export
        scratch = {"weight_scratch_bytes": self.profile.reserve.weight_scratch_bytes}
        file, options = settings.file_name, settings.options.model_copy(update=scratch)
        verification = self.folder.stage(
            "export",
            "verification.json",
            inputs=[
                *self.data_digests,
                self.folder.content("lower"),
                file,
                settings.format,
                options.model_dump(mode="json"),
            ],
            make=lambda: export_program(
                settings.format,
                program,
                self.folder.path(file),
                real_inputs(program, self.network, self.held_back),
                options,
            ),
            form=record_form(Verification),
            also=[file],
        )
        self._tell_of_excess(file, verification.file_bytes)
        return verification

    def evaluate(
        self,
        quantized: QuantizedNetwork,
        tuned: Tuned | None,
        batches: Callable[[], Iterable[Batch]],
        data: str,
    ) -> Evaluation:
        """The quality of every state of the network.

        Args:
            quantized: before training.
            tuned: after training, if there was any.
            batches: reads the data from the start.
            data: their digest.
        """

        def make() -> Evaluation:
            runs: dict[Stage, Run] = {"float": float_run(self.network)}
            runs["quantized"] = quantized_run(quantized)
            if tuned is not None:
                runs["finetuned"] = quantized_run(tuned.network)
            exported = self.config.export
            runs["exported"] = exported_run(self.folder.path(exported.file_name), exported.format)
            return evaluate_states(self.network, runs, batches)

        return self.folder.stage(
            "evaluate",
            "evaluation.json",
            inputs=[
                self._network_digest,
                data,
                self.folder.content("quantize"),
                None if tuned is None else self.folder.content(tuned.made_by),
                self.folder.content("export"),
            ],
            make=make,
            form=artifact_form(Evaluation),
        )

    def _tell_of_excess(self, file: str, file_bytes: int) -> None:
        """Warn where a file takes more than the budget: its graph and code are known only now."""
        limit = self.budget.flash_bytes
        if self.profile.runtime is not None and limit is not None and file_bytes > limit:
            logger.warning(
                "export: %s takes %s bytes, %s more than the flash budget, because what a file "
                "holds beside the weights' widths is estimated; lower the budget by as much",
                file,
                f"{file_bytes:,}",
                f"{file_bytes - limit:,}",
            )

    def _searched(self, scores: SensitivityTable, costs: CostTable) -> Solution:
        settings = self.config.search
        bits = settings.activation_bits
        measure = plan_measure(
            self.network,
            self.calibration,
            self.held_back,
            rounding=self.rounding,
            loss=self.loss,
        )
        return search(scores, costs, self.budget, settings.strategy, bits, measure)

    def _trained(
        self, stage: TrainingStage, start: QuantizedNetwork, made_by: str, training: DataSource
    ) -> QuantizedNetwork:
        settings, seed = self.config.finetune, self.config.run.seed
        options = settings.options()
        # A source's digest is of its samples alone.
        data = fingerprint(training.digest, self.config.data.batch_size)
        return self.folder.stage(
            stage,
            _TRAINED_FILES[stage],
            inputs=[
                *self.data_digests,
                self.folder.content(made_by),
                data,
                settings.epochs,
                options,
                seed,
                loss_name(self.loss),
            ],
            make=lambda: finetune(
                self.network,
                start.plan,
                training,
                epochs=settings.epochs,
                start=start,
                validation=self.held_back,
                calibration=self.calibration,
                loss=self.loss,
                seed=seed,
                # A checkpoint knows what it trains, but not on which data.
                checkpoint=self.folder.path(f"{stage}-{data[:12]}.partial"),
                ranks=self.folder.ranks,
                **options,
            ),
            form=self._quantized_form,
            shared=True,
        )

    def _quantized(self, plan: BitPlan) -> QuantizedNetwork:
        start = quantize(
            self.network,
            plan,
            self.calibration,
            rounding=self.rounding,
            mirrored=self.config.quantize.mirrored,
        )
        if not self._reconstruction:
            return start
        steps, seed = self._reconstruction
        return reconstruct(
            self.network,
            start,
            self.calibration,
            steps=steps,
            rounding=self.rounding,
            seed=seed,
        )

    def load_quantized(self, path: Path) -> QuantizedNetwork:
        """A quantized network of this run."""
        return QuantizedNetwork.load(path, self.network)

    @cached_property
    def rounding(self) -> str:
        """Of the weights, in scores and in the result."""
        return rounding_for(self.profile, self.config.search.rounding)

    @property
    def _reconstruction(self) -> tuple[int, ...]:
        """Steps and seed where blocks are reconstructed, else nothing: as in runs without it."""
        steps = self.config.quantize.reconstruct
        return (steps, self.config.run.seed) if steps else ()

    @property
    def _quantized_form(self) -> Form[QuantizedNetwork]:
        return Form(save=QuantizedNetwork.save, load=self.load_quantized)

    @cached_property
    def _network_digest(self) -> str:
        return self.network.digest()

    @cached_property
    def data_digests(self) -> tuple[str, ...]:
        """Of the network and the calibration data: what almost every stage depends on."""
        data = (data_digest(self.calibration), data_digest(self.held_back))
        return (self._network_digest, *data)
