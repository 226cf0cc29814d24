"""Profiles of an emulated processor: from made cycles, and from real kernels."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import numpy as np
import pytest

from sigmaquant.costs.cycles import Tile, kernel_work, layer_cycles
from sigmaquant.devices import Evidence, load_profile
from sigmaquant.devices.latency_models import WeightFetch
from sigmaquant.devices.profile_file import write_profile
from sigmaquant.errors import DeviceError
from sigmaquant.export.c.manifest import Step
from sigmaquant.layers import WIDTHS, LayerKind
from sigmaquant.lowering import run_reference
from sigmaquant.profiling import emulated
from sigmaquant.profiling.cores import CORES
from sigmaquant.profiling.counts import Count
from sigmaquant.profiling.cross_compiler import CrossCompiler
from sigmaquant.profiling.emulated_grid import (
    LayerCase,
    OperatorCase,
    convolution_cases,
    layer_cases,
    operator_cases,
    side_by_side,
)
from sigmaquant.profiling.emulated_network import StepCount
from sigmaquant.profiling.host_chains import LayerChain
from sigmaquant.profiling.profiled import Profiled

M4 = CORES["cortex-m4"]
_FIELDS = {2: 16, 3: 10, 4: 8, 5: 6, 6: 4, 7: 4, 8: 4}  # weights in a word
_AT_ONCE = {LayerKind.CONV: "places", LayerKind.LINEAR: "rows"}
_NO_FETCH = WeightFetch(cycles_per_byte=0, source="left out", kind=Evidence.EMULATED)


def made_cycles(case: LayerCase | OperatorCase) -> int:
    """A kernel whose cost is the model's own."""
    if isinstance(case, OperatorCase):
        return case.elements * {"add": 40, "softmax": 100}.get(case.operator, 20)
    bits, kind = case.chain.weight_bits, case.chain.kind
    depthwise = kind is LayerKind.DEPTHWISE_CONV
    tile = Tile(window=(3, 3)) if depthwise else Tile(block=32)
    unpacking = (10 + bits) * kernel_work(case.layer).weights if depthwise else 0
    if case.unpacks_first:
        unpacking, bits = 3 * case.layer.weights, 8
    if not depthwise:
        tile = dataclasses.replace(tile, tail_block=_FIELDS[bits])
        tile = dataclasses.replace(tile, **{_AT_ONCE[kind]: 2})
    work = kernel_work(case.layer, tile)
    whole, tail = (4, 0) if depthwise else (1 + bits / 8, 3 - bits / 8)
    gathered = 0 if depthwise else 2 * work.patch_elements
    rows = 0 if kind is LayerKind.LINEAR else 300 * work.patch_rows
    rows += 90 * work.unaligned_rows if kind is LayerKind.CONV else 0
    dots = whole * work.block_macs + tail * work.tail_macs + (2 + bits) * work.odd_row_macs
    dots += 9 * work.other_window_macs
    outputs = 0 if depthwise else 50 * work.requantized_outputs + 9 * work.float_outputs
    return round(dots + gathered + rows + unpacking + outputs + 900 * work.uses)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Profiled:
    """From made cycles; the export unpacks 5 to 7 bits first where it has room."""

    def layers(cases: list[LayerCase], *_: object) -> dict[LayerCase, int]:
        known = (5, 6, 7)
        offered = [c for c in cases if not c.unpacks_first or c.chain.weight_bits in known]
        return {case: made_cycles(case) for case in offered}

    def operators(*_: object) -> list[StepCount]:
        counts = [Count(instructions=1, cycles=made_cycles(case)) for case in operator_cases()]
        step = Step(name="0/layer0", operator="?")
        return [StepCount(step=step, count=count, functions={}) for count in counts]

    monkeypatch.setattr(emulated, "layer_cycles", layers)
    monkeypatch.setattr(emulated, "step_counts", operators)
    monkeypatch.setattr(emulated, "find_cross_compiler", lambda: CrossCompiler(("cc",), "cc 1"))
    return emulated.profile_emulated("cortex-m4", "mine")


def test_made_cycles_are_found_again_at_every_width(made: Profiled) -> None:
    assert max(abs(row.error) for row in made.rows) < 1e-3
    assert len(made.rows) == len([*layer_cases(8), *convolution_cases(8)])
    unpacking = made.profile.latency.kernels["conv"].unpack_first
    assert unpacking is not None
    assert unpacking.cycles_per_weight == pytest.approx(dict.fromkeys((5, 6, 7), 3.0), rel=1e-3)
    assert made.profile.latency.kernels["linear"].unpack_first is None
    latency = made.profile.latency.model_copy(update={"weight_fetch": _NO_FETCH})
    reserve = made.profile.reserve.model_copy(update={"weight_scratch_bytes": 0})
    packed = made.profile.model_copy(update={"reserve": reserve})
    for bits in WIDTHS:
        for case in layer_cases(bits):
            cycles = layer_cycles(case.layer, bits, 8, latency, packed)
            assert cycles == pytest.approx(made_cycles(case), rel=2e-3)


def test_figures_are_emulated_and_all_else_is_the_shipped_parts(
    made: Profiled, tmp_path: Path
) -> None:
    profile, shipped = made.profile, load_profile("cortex-m4")
    assert (profile.name, profile.energy, profile.memory) == (
        "mine", shipped.energy, shipped.memory,
    )  # fmt: skip
    assert profile.uncertainty is None
    assert all(kernel.kind is Evidence.EMULATED for kernel in profile.latency.kernels.values())
    assert "cc 1" in profile.latency.kernels["conv"].source
    assert profile.latency.other_operators.by_operator["add"] == 40
    assert profile.latency.other_operators.cycles("concat", 10) == 10 * (40 + 3 * 20) / 4
    assert profile.latency.float_operators.cycles_per_element == 100
    write_profile(profile, tmp_path / "mine.toml")
    assert load_profile(tmp_path / "mine.toml") == profile
    written = tomllib.loads((tmp_path / "mine.toml").read_text())
    kernels = written["latency"]["kernels"]
    assert (kernels["conv"]["dot_product_block"], kernels["conv"]["places_at_once"]) == (32, 2)
    assert kernels["linear"]["cycles_per_odd_row_mac"]["3"] == pytest.approx(5, rel=1e-3)
    assert kernels["depthwise_conv"]["cycles_per_other_window_mac"] == pytest.approx(9, rel=1e-3)


def test_cases_side_by_side_are_the_cases_alone() -> None:
    cases = [*[*layer_cases(3)][-2:], *[*operator_cases()][:1]]
    programs = [case.program() for case in cases]
    together = side_by_side(programs)
    random = np.random.default_rng(0)
    inputs = {
        name: random.normal(size=(2, *together.values[name].shape)).astype(np.float32)
        for name in together.inputs
    }
    outputs = run_reference(together, inputs)
    for index, program in enumerate(programs):
        alone = run_reference(program, {"x": inputs[f"{index}/x"]})
        assert np.array_equal(outputs[f"{index}/y"], alone["y"])


def test_real_kernels_are_counted_the_same_in_every_run(cross_compiler: CrossCompiler) -> None:
    cases = [LayerCase(LayerChain(LayerKind.CONV, 8, 8, bits, 4, 3)) for bits in (2, 8)]
    first, again = (emulated.layer_cycles(cases, M4, cross_compiler) for _ in range(2))
    assert first == again
    assert all(0.5 < cycles / case.layer.macs < 20 for case, cycles in first.items())
    softmax = OperatorCase("softmax", (10,)).program()
    (step,) = emulated.step_counts([softmax], M4, cross_compiler)
    assert 100 < step.count.cycles < 10_000


def test_only_layers_that_were_unpacked_first_count_as_such(cross_compiler: CrossCompiler) -> None:
    chains = [LayerChain(LayerKind.CONV, 32, 8, 7, size, 1) for size in (2, 8)]
    few, many = (LayerCase(chain, unpacks_first=True) for chain in chains)
    assert set(emulated.layer_cycles([few, many], M4, cross_compiler)) == {many}


def test_other_targets_are_refused() -> None:
    with pytest.raises(DeviceError, match="cannot emulate 'cortex-m0'"):
        emulated.profile_emulated("cortex-m0", "mine")
