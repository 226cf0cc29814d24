"""The stages that need more than their input: a search or front needs a device, an export a check.

The other stages are called as they are: ``capture``, ``score``, ``quantize``, ``finetune``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import Budget
from sigmaquant.calibration import Batch, read_batches
from sigmaquant.costs import cost_table
from sigmaquant.data import hold_back
from sigmaquant.devices import DeviceProfile, load_profile, on_runtime
from sigmaquant.devices.energy_models import UnknownEnergy
from sigmaquant.divergence import UserLoss
from sigmaquant.errors import ConfigError, DataError, DeviceError
from sigmaquant.export.formats import FormatOptions, format_named
from sigmaquant.layers import LayerTable
from sigmaquant.lowering import IntegerProgram, lower
from sigmaquant.lowering.program import FloatOperator, Quantize
from sigmaquant.network import Network
from sigmaquant.plan_loss import plan_measure
from sigmaquant.plan_revision import revise_plan, start_of
from sigmaquant.quantized import QuantizedNetwork, check_rounding
from sigmaquant.search import Front, Measure, Solution
from sigmaquant.search import pareto as front_of_tables
from sigmaquant.search import search as solve_tables
from sigmaquant.search.problem import problem
from sigmaquant.sensitivity import SensitivityTable

if TYPE_CHECKING:
    from sigmaquant.export.verification import Verification

VERIFIED_SAMPLES = 32

Arrays = dict[str, npt.NDArray[Any]]


def search(
    network: Network | LayerTable,
    scores: SensitivityTable,
    *,
    device: str | Path | DeviceProfile,
    runtime: str | Path | None = None,
    budget: Budget,
    strategy: str = "exact",
    activation_bits: int | None = None,
    calibration: Iterable[Any] | None = None,
    rounding: str | None = None,
    loss: UserLoss | None = None,
    seed: int = 0,
) -> BitPlan:
    """The widths that lose least within the budget; ``solve`` tells more about them.

    Args:
        network: what was scored, or its layer table.
        scores: of all its layers.
        device: a shipped profile's name, a TOML file, or a profile.
        runtime: what will run there, such as "tflm" or a TOML file: only widths that it stores in
            fewer bytes are chosen, and flash is the size of its file. By default the stack that
            the profile describes.
        budget: hard limits; the device's own memory is one too.
        strategy: how the widths are chosen: "exact", "greedy", "sigma" or "refine".
        activation_bits: width of all activations. By default each precision group's is chosen where
            the device runs several and they were scored, and is the device's native one elsewhere.
        calibration: a loader of inputs on which plans are measured: three quarters to round with, a
            quarter held back for the loss. Without it plans are compared by their scores, and
            "refine", which measures, cannot be used.
        rounding: of the plans measured; by default as for the runtime (see ``rounding_for``).
        loss: the user's own, for the plans measured; see ``score``.
        seed: of the draw of what is held back.

    Raises:
        ConfigError: an unknown strategy or rounding, one that lacks calibration data, or another
            rounding, here or in the scores, than the runtime's code is for.
        DataError: see ``read_batches``.
        InfeasibleError: no plan meets the budget; names the nearest one that can be met.
        DeviceError: an unknown device or runtime, or one that cannot run the network.
        ArtifactError: the scores are of another network.
    """
    return solve(
        network,
        scores,
        device=device,
        runtime=runtime,
        budget=budget,
        strategy=strategy,
        activation_bits=activation_bits,
        calibration=calibration,
        rounding=rounding,
        loss=loss,
        seed=seed,
    ).plan


def solve(
    network: Network | LayerTable,
    scores: SensitivityTable,
    *,
    device: str | Path | DeviceProfile,
    runtime: str | Path | None = None,
    budget: Budget,
    strategy: str = "exact",
    activation_bits: int | None = None,
    calibration: Iterable[Any] | None = None,
    rounding: str | None = None,
    loss: UserLoss | None = None,
    seed: int = 0,
) -> Solution:
    """As ``search``, with the plan's costs, what is proven of it and its close calls."""
    table = network if isinstance(network, LayerTable) else network.table
    profile = target_profile(device, runtime)
    rounded = rounding_for(profile, rounding)
    return solve_tables(
        scores,
        cost_table(table, profile, scores),
        limited_by_memory(budget, profile),
        strategy=strategy,
        activation_bits=activation_bits,
        measure=None
        if calibration is None
        else _held_back_measure(network, calibration, rounded, loss, seed),
    )


def revise(
    tuned: QuantizedNetwork,
    scores: SensitivityTable,
    *,
    calibration: Iterable[Any],
    device: str | Path | DeviceProfile,
    runtime: str | Path | None = None,
    budget: Budget,
    activation_bits: int | None = None,
    rounding: str | None = None,
    loss: UserLoss | None = None,
    seed: int = 0,
) -> QuantizedNetwork:
    """A fine-tuned network under a plan that suits it better, to be fine-tuned once more.

    Scores know nothing of training. So the plans next to the network's are measured on it: what
    keeps its width stays as it was trained, layers of another width are rounded anew. Moves that
    gain more than noise are kept, as the strategy "refine" keeps them.

    Args:
        tuned: what ``finetune`` gave.
        scores: of all its layers.
        calibration: a loader of inputs: three quarters to round with, a quarter held back.
        device: that the plan was searched for; see ``search``.
        runtime: likewise.
        budget: hard limits; the device's own memory is one too.
        activation_bits: as for ``search``.
        rounding: of the layers of another width; by default as for the runtime.
        loss: the user's own; see ``score``.
        seed: of the draw of what is held back.

    Returns:
        The network under its new plan, ``revised.plan``, for ``finetune(..., start=revised)``. A
        copy of the old one under the old plan where no move gains.

    Raises:
        ConfigError: an unknown rounding, a budget that the network's plan does not keep, or
            roundings as for ``search``.
        DataError: see ``read_batches``.
        DeviceError: an unknown device or runtime, or one that cannot run the network.
        ArtifactError: the scores, or the plan's widths, do not fit the network and device.
    """
    network, profile = tuned.network, target_profile(device, runtime)
    rounded = rounding_for(profile, rounding)
    costs = cost_table(network.table, profile, scores)
    limits = limited_by_memory(budget, profile)
    asked = problem(scores, costs, limits, activation_bits)
    start = start_of(asked, tuned)
    kept, held = _split(network, calibration, seed)
    return revise_plan(asked, start, tuned, kept, held, rounding=rounded, loss=loss).network


def _held_back_measure(
    network: Network | LayerTable,
    calibration: Iterable[Any],
    rounding: str,
    loss: UserLoss | None,
    seed: int,
) -> Measure:
    if isinstance(network, LayerTable):
        raise ConfigError(
            "to measure plans on calibration data takes the network itself, not its layer table"
        )
    kept, held = _split(network, calibration, seed)
    return plan_measure(network, kept, held, rounding=rounding, loss=loss)


def _split(
    network: Network, calibration: Iterable[Any], seed: int
) -> tuple[tuple[Batch, ...], tuple[Batch, ...]]:
    """Samples to round with, and samples held back to measure on."""
    batches = read_batches(calibration, network, what="calibration")
    return hold_back(batches, seed=seed, unit=network.batch_size or 1)


def pareto(
    network: Network | LayerTable,
    scores: SensitivityTable,
    *,
    device: str | Path | DeviceProfile,
    runtime: str | Path | None = None,
    budget: Budget | None = None,
    metrics: Sequence[str] = ("rise", "flash_bytes"),
    points: int = 12,
    activation_bits: int | None = None,
) -> Front:
    """What each saving costs: plans that trade the rise of the loss and the costs for each other.

    Args:
        network: what was scored, or its layer table.
        scores: of all its layers.
        device: a shipped profile's name, a TOML file, or a profile.
        runtime: what will run there, such as "tflm" or a TOML file: only widths that it stores in
            fewer bytes are chosen, and flash is the size of its file. By default the stack that
            the profile describes.
        budget: kept by all plans, as is the device's own memory.
        metrics: two or three of "rise", "flash_bytes", "latency_ms", "energy_uj" and, where
            activation widths are chosen, "peak_ram_bytes".
        points: so many plans at most.
        activation_bits: width of all activations. By default each precision group's is chosen where
            the device runs several and they were scored, and is the device's native one elsewhere.

    Raises:
        ConfigError: metrics that cannot be traded, fewer points than metrics, or scores in another
            rounding than the runtime's code is for.
        InfeasibleError: no plan meets the budget; names the nearest one that can be met.
        DeviceError: an unknown device or runtime, or one that cannot run the network.
        ArtifactError: the scores are of another network.
    """
    table = network if isinstance(network, LayerTable) else network.table
    profile = target_profile(device, runtime)
    if "energy_uj" in metrics:
        _check_energy_known(profile)
    limited = limited_by_memory(budget or Budget(), profile)
    asked = problem(scores, cost_table(table, profile, scores), limited, activation_bits)
    return front_of_tables(asked, metrics, points)


def target_profile(
    device: str | Path | DeviceProfile, runtime: str | Path | None = None
) -> DeviceProfile:
    """The profile of a device, given or by name, with the runtime that is put on it.

    Raises:
        DeviceError: an unknown device or runtime, or they do not go together.
        ConfigError: a file that cannot be read or does not fit the schema.
    """
    profile = device if isinstance(device, DeviceProfile) else load_profile(device)
    return on_runtime(profile, runtime)


def rounding_for(profile: DeviceProfile, asked: str | None = None) -> str:
    """How weights are rounded for a device: for code, where its runtime holds them in code.

    Args:
        profile: of the device, with its runtime.
        asked: what the user wants, if anything.

    Raises:
        ConfigError: an unknown rounding, or another one than the runtime's code is for.
    """
    runtime = profile.runtime
    code = None if runtime is None else runtime.code
    rounding = asked or ("compensated" if code is None else code.rounding)
    check_rounding(rounding)
    if runtime is not None and code is not None and rounding != code.rounding:
        raise ConfigError(
            f"{runtime.name} counts on weights in rounding {code.rounding!r}, not {rounding!r}: "
            "leave the rounding out, or choose a runtime without code"
        )
    return rounding


def limited_by_memory(budget: Budget, profile: DeviceProfile) -> Budget:
    """The budget, lowered to the flash and RAM that the device has.

    Raises:
        DeviceError: a limit on energy, and the device's is not known.
    """
    if budget.energy_uj is not None:
        _check_energy_known(profile)
    sizes = {
        "flash_bytes": (budget.flash_bytes, profile.usable_flash_bytes),
        "peak_ram_bytes": (budget.peak_ram_bytes, profile.memory.ram_bytes),
    }
    known = {metric: [s for s in pair if s is not None] for metric, pair in sizes.items()}
    return budget.model_copy(update={metric: min(s) for metric, s in known.items() if s})


def _check_energy_known(profile: DeviceProfile) -> None:
    if isinstance(profile.energy, UnknownEnergy):
        raise DeviceError(
            f"the energy of {profile.name} is not known ({profile.energy.reason}); leave it out of "
            "the request, or write an [energy] of measured power into the profile"
        )


def export(
    quantized: QuantizedNetwork,
    path: str | Path,
    *,
    format: str = "onnx",  # noqa: A002  (the user's word for it)
    samples: Iterable[Any] | None = None,
    options: FormatOptions | None = None,
) -> Verification:
    """Write a file with packed weights, and prove that its runtime computes what it should.

    Args:
        quantized: what to export.
        path: the file; it appears only after it has passed.
        format: "onnx", "tflite", "tflm", "qonnx", "qnn" or "c"; the last two are folders.
        samples: a loader of inputs, the first of which are compared; by default random ones in the
            range of the network's inputs, where the format can do without data.
        options: of formats that have some.

    Raises:
        ConfigError: an unknown format.
        DataError: no samples for a format that needs them; see ``read_batches``.
        UnsupportedError: an operator cannot be expressed.
        VerificationError: the file does not compute what the integer reference computes.
        OutputError: the folder cannot be written.
        MissingExtraError: the format's runtime is not installed.
    """
    chosen = format_named(format)
    if chosen.needs_data and samples is None:
        raise DataError(
            f"{format} files hold the results of the last layer as 8-bit integers, and only real "
            "data show their range; give samples (--calibration)"
        )
    program = lower(quantized)
    inputs = _verified_inputs(quantized.network, program, samples)
    return chosen.export(program, Path(path), inputs, options or FormatOptions())


def _verified_inputs(
    network: Network, program: IntegerProgram, samples: Iterable[Any] | None
) -> Arrays:
    count = _verified_samples(program, network)
    if samples is None:
        return random_inputs(program, count)
    return real_inputs(program, network, read_batches(samples, network, count, what="sample"))


def _verified_samples(program: IntegerProgram, network: Network) -> int:
    """How many at most: float operators may have been captured with a fixed batch size."""
    floats = any(isinstance(operator, FloatOperator) for operator in program.operators)
    return (network.batch_size if floats else None) or VERIFIED_SAMPLES


def check_exportable(network: Network, file_format: str, options: FormatOptions) -> None:
    """Refuse at once what ``export`` would refuse after all the work: a trial without values.

    Raises:
        ConfigError: an unknown format.
        UnsupportedError: an operator cannot be expressed; names it and its place.
        MissingExtraError: the format's runtime is not installed.
    """
    program = lower(QuantizedNetwork.unfitted(network, BitPlan.uniform(network.table, 8)))
    inputs = random_inputs(program, network.batch_size or 1)
    format_named(file_format).check(program, inputs, options)


def real_inputs(program: IntegerProgram, network: Network, samples: Sequence[Batch]) -> Arrays:
    """The first samples, by name of the program's inputs: (count, *shape) float32."""
    count = _verified_samples(program, network)
    tensors = [
        torch.cat([batch.inputs[index] for batch in samples])[:count]
        for index in range(len(program.inputs))
    ]
    named = zip(program.inputs, tensors, strict=True)
    return {name: tensor.numpy().astype(np.float32) for name, tensor in named}


def random_inputs(program: IntegerProgram, count: int) -> Arrays:
    """Inputs spread evenly over the range that the program can tell apart, always the same."""
    random = np.random.default_rng(0)
    ranges = {
        operator.inputs[0]: program.values[operator.output].encoding
        for operator in program.operators
        if isinstance(operator, Quantize)
    }
    arrays: Arrays = {}
    for name in program.inputs:
        shape, encoding = (count, *program.values[name].shape), ranges.get(name)
        levels = random.integers(0, 256, shape)
        if encoding is None:
            arrays[name] = (levels / 128 - 1).astype(np.float32)
        else:
            kept = levels % (encoding.highest + 1) - encoding.zero_point
            arrays[name] = (kept * encoding.scale).astype(np.float32)
    return arrays
