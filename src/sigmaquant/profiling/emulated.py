"""A profile of a Cortex-M from the C library's kernels on an emulated processor."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sigmaquant.devices.latency_models import CyclesModel
from sigmaquant.devices.loading import load_profile
from sigmaquant.devices.profile import DeviceProfile
from sigmaquant.export.c.folder import write_files
from sigmaquant.export.c.model import build_model
from sigmaquant.export.c.values import BYTE_BITS
from sigmaquant.layers import WIDTHS, LayerKind
from sigmaquant.lowering.program import IntegerProgram
from sigmaquant.profiling.cores import Core, core_named
from sigmaquant.profiling.cross_compiler import CrossCompiler, find_cross_compiler
from sigmaquant.profiling.emulated_fit import (
    LayerCycles,
    OperatorCycles,
    element_cycles,
    kernel_cycles,
    layer_rows,
)
from sigmaquant.profiling.emulated_grid import (
    LayerCase,
    convolution_cases,
    layer_cases,
    operator_cases,
    side_by_side,
)
from sigmaquant.profiling.emulated_network import EmulatedNetwork, StepCount
from sigmaquant.profiling.profiled import Profiled
from sigmaquant.progress import progress_bar

_MEASURED_STEP = "layer0"
_MUCH_SCRATCH_BYTES = 1 << 20  # for the weights of any layer of the grid
_NOTES = (
    "Cycles come from emulating the kernels of the C export by a model of the processor with "
    "memory that answers at once, not from a board. Depthwise convolutions of other windows than "
    "3 x 3 are missed by more."
)


def profile_emulated(core_name: str, name: str) -> Profiled:
    """Count the cycles of the C library's kernels, and fit a profile to them.

    Everything but the times is that of the shipped profile of a part with this processor.

    Args:
        core_name: a key of ``CORES``.
        name: of the new profile.

    Raises:
        DeviceError: the core cannot be emulated.
        MissingToolError: there is no compiler for it.
    """
    core, compiler = core_named(core_name), find_cross_compiler()
    layers: dict[LayerCase, int] = {}
    with progress_bar(f"emulating {core.name}", total=2 * len(WIDTHS) + 1) as advance:
        for bits in WIDTHS:
            layers |= layer_cycles(tuple(layer_cases(bits)), core, compiler)
            advance()
            layers |= layer_cycles(tuple(convolution_cases(bits)), core, compiler)
            advance()
        others = tuple(operator_cases())
        counts = step_counts([case.program() for case in others], core, compiler)
        advance()
    operators = {case: step.count.cycles for case, step in zip(others, counts, strict=True)}
    return Profiled(
        profile=_profile(load_profile(core.name), name, compiler, layers, operators),
        rows=layer_rows(layers),
        unit="cycles",
    )


def layer_cycles(
    cases: Sequence[LayerCase], core: Core, compiler: CrossCompiler
) -> dict[LayerCase, int]:
    """Cycles of layers; of those to be unpacked first, where the C export does so."""
    scratch = _MUCH_SCRATCH_BYTES if any(case.unpacks_first for case in cases) else 0
    counts = step_counts([case.program() for case in cases], core, compiler, scratch)
    return {
        case: step.count.cycles
        for case, step in zip(cases, counts, strict=True)
        if not case.unpacks_first or _was_unpacked(case, step)
    }


def _was_unpacked(case: LayerCase, step: StepCount) -> bool:
    """The kernel for 8 bits ran, on weights of fewer."""
    return case.chain.weight_bits != BYTE_BITS and f"sq_dot_w{BYTE_BITS}" in step.functions


def step_counts(
    programs: Sequence[IntegerProgram],
    core: Core,
    compiler: CrossCompiler,
    weight_scratch_bytes: int = 0,
) -> list[StepCount]:
    """What the step ``layer0`` of each program takes, on inputs that are always the same."""
    program = side_by_side(programs)
    random = np.random.default_rng(0)
    shapes = {name: (1, *program.values[name].shape) for name in program.inputs}
    inputs = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    outputs = {
        name: np.zeros((1, *program.values[name].shape), np.float32) for name in program.outputs
    }
    model = build_model(program, weight_scratch_bytes)
    with tempfile.TemporaryDirectory() as folder:
        write_files(model, Path(folder), inputs, outputs)
        steps = EmulatedNetwork(Path(folder), core, compiler).count(inputs)
    return [step for step in steps if step.step.name.endswith(f"/{_MEASURED_STEP}")]


def _profile(
    origin: DeviceProfile,
    name: str,
    compiler: CrossCompiler,
    layers: LayerCycles,
    operators: OperatorCycles,
) -> DeviceProfile:
    assert isinstance(origin.latency, CyclesModel), "shipped profiles of processors are in cycles"
    source = f"emulated C library, {compiler.version}"
    latency = origin.latency.model_copy(
        update={
            "kernels": {kind: kernel_cycles(layers, kind, source) for kind in LayerKind},
            "other_operators": element_cycles(operators, True, source),
            "float_operators": element_cycles(operators, False, source),
        }
    )
    return DeviceProfile.model_validate(
        origin.model_copy(
            update={
                "name": name,
                "notes": _NOTES,
                "uncertainty": None,
                "calibration": None,
                "latency": latency,
            }
        )
    )
