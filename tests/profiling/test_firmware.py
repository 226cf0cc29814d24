"""The benchmark firmware: strictly compiled, true in its times, read by ``devices fit``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import sigmaquant as sq
from sigmaquant.bitplan import BitPlan
from sigmaquant.devices.measurements import read_measurements
from sigmaquant.errors import ArtifactError, OutputError
from sigmaquant.export.c.compiler import STRICT, Compiler, find_compiler, run_program
from sigmaquant.export.c.manifest import Manifest
from sigmaquant.layers import LayerTable
from sigmaquant.profiling.cores import core_named
from sigmaquant.profiling.cross_compiler import CrossCompiler, write_bare
from sigmaquant.profiling.emulator import Emulator
from sigmaquant.profiling.firmware import write_firmware

Built = Callable[..., str]

# A board whose counter starts again after 2^32 and moves by 1,000 cycles whenever it is read; 12
# seconds a step are more than it counts to.
FAKE_BOARD = """
#include "bench.h"
static uint32_t now = 0xfffff000u;
void sq_cycles_start(void) { now += 5; }
uint32_t sq_cycles(void) { return now += 1000; }
uint32_t sq_cycles_per_second(void) { return 1000000; }
"""

# What prints into memory, for an emulator that has no counter of cycles.
EMULATED_BOARD = (
    FAKE_BOARD.replace("1000000", "16000000")
    + """
char printed[4096];
void sq_pause(int32_t reason);
void sq_putchar(char character) { static int at; printed[at++] = character; }
int putchar(int character) { return character; }
int main(void) { bench(); for (;;) sq_pause(-1); }
"""
)


class Net(nn.Module):
    """A layer that is used twice, and names that C and CSV would take for their own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        x = self.twice(self.twice(x).relu())
        return self.fc(x.mean((2, 3)))


@pytest.fixture(scope="module")
def compiler() -> Compiler:
    found = find_compiler()
    if found is None:
        pytest.skip("no C compiler here")
    return found


@pytest.fixture(scope="module")
def network() -> sq.Network:
    torch.manual_seed(0)
    return sq.capture(Net().eval(), torch.zeros(1, 2, 6, 6))


@pytest.fixture(scope="module")
def table(network: sq.Network) -> LayerTable:
    return network.table


@pytest.fixture(scope="module")
def exported(network: sq.Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = BitPlan.uniform(network.table, 4)
    batch = torch.randn(8, 2, 6, 6)
    quantized = sq.quantize(network, plan, [batch], rounding="nearest")
    folder = tmp_path_factory.mktemp("exported") / "model_c"
    sq.export(quantized, folder, format="c")
    return folder


@pytest.fixture(scope="module")
def built(exported: Path, compiler: Compiler, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """What a folder's firmware prints on this machine; the kernels are compiled once for all."""
    kernels = sorted((exported / "kernels").glob("*.c"))
    objects = compiler.objects(kernels, tmp_path_factory.mktemp("kernels"))

    def run(folder: Path, *sources: Path) -> str:
        parts = [folder / name for name in ("bench.c", "clock.c", "model.c")]
        flag = f"-I{folder}"
        compiler.program(folder / "main.c", [*parts, *sources, *objects], folder / "run", flag)
        ended = run_program([folder / "run"])
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.decode()

    return run


def test_rows_add_up_and_are_read_back(
    exported: Path, table: LayerTable, built: Built, tmp_path: Path
) -> None:
    folder = tmp_path / "firmware"
    write_firmware(exported, table, folder)
    (folder / "board.csv").write_text(built(folder))
    whole, *layers = read_measurements(folder / "board.csv")
    assert (whole.network, whole.plan) == (folder / "network.json", folder / "plan.json")
    assert LayerTable.load(whole.network) == table
    assert BitPlan.load(folder / "plan.json").weight_bits == dict.fromkeys(
        ("first", "twice", "fc"), 4
    )
    assert [row.layer for row in layers] == ["first", "twice", "fc"]
    assert 0 < sum(row.latency_ms for row in layers) < whole.latency_ms < 1000


def test_cycles_become_milliseconds_also_where_the_counter_starts_again(
    exported: Path, table: LayerTable, built: Built, tmp_path: Path
) -> None:
    folder, fake = tmp_path / "firmware", tmp_path / "fake.c"
    write_firmware(exported, table, folder)
    fake.write_text(FAKE_BOARD)
    printed = built(folder, fake)
    assert printed.splitlines()[0] == (
        "# 1000000 cycles a second, mean of 10 runs; 0 of 3 outputs differ from the reference"
    )
    steps = Manifest.load(exported / "model.json").steps
    (folder / "board.csv").write_text(printed)
    times = {row.layer: row.latency_ms for row in read_measurements(folder / "board.csv")}
    assert times == {None: float(len(steps)), "first": 1.0, "twice": 2.0, "fc": 1.0}


def test_a_difference_from_the_reference_is_printed(
    exported: Path, table: LayerTable, built: Built, tmp_path: Path
) -> None:
    folder = tmp_path / "firmware"
    write_firmware(exported, table, folder)
    vectors = folder / "check_vectors.h"
    before, name, wanted = vectors.read_text().partition("check_outputs[")
    vectors.write_text(before + name + re.sub("0x[0-9a-f]+", "0x1", wanted, count=1))
    assert "1 of 3 outputs differ" in built(folder)


@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m33"])
def test_it_compiles_strictly_for_boards(
    cross_compiler: CrossCompiler, exported: Path, table: LayerTable, tmp_path: Path, cpu: str
) -> None:
    folder = tmp_path / "firmware"
    write_firmware(exported, table, folder)
    write_bare(tmp_path, "string.h")
    if cross_compiler.is_gcc:
        flags = (f"-mcpu={cpu}", "-mthumb", "-ffreestanding")
    else:
        zig_cpu = cpu.replace("-", "_") + ("+dsp" if cpu == "cortex-m33" else "")
        flags = ("-target", "thumb-freestanding-eabi", f"-mcpu={zig_cpu}")
    flags += ("-c", "-O2", "-DBENCH_HZ=120000000", f"-I{tmp_path}")
    for name in ("bench.c", "clock.c", "main.c", "model.c"):
        output = tmp_path / f"{name}.o"
        command = [*cross_compiler.command, *STRICT, *flags, folder / name, "-o", output]
        ended = run_program(command)
        assert ended.returncode == 0, ended.stderr.decode()


def test_it_runs_on_an_emulated_board(
    cross_compiler: CrossCompiler, exported: Path, table: LayerTable, tmp_path: Path
) -> None:
    folder, board = tmp_path / "firmware", tmp_path / "board.c"
    write_firmware(exported, table, folder)
    board.write_text(EMULATED_BOARD)
    clock = folder / "clock.c"
    clock.write_text("#define BENCH_HZ 16000000\n" + clock.read_text())
    sources = [folder / name for name in ("bench.c", "clock.c", "model.c")]
    kernels = sorted((folder / "kernels").glob("*.c"))
    core = core_named("cortex-m4")
    image = cross_compiler.image([*sources, board, *kernels], [folder], core)
    emulator = Emulator(image, core.name)
    emulator.run()
    printed = emulator.read(image.symbols["printed"], 4096).partition(b"\0")[0].decode()
    assert "16000000 cycles a second, mean of 10 runs; 0 of 3 outputs differ" in printed
    assert "network.json,twice,plan.json,0.125000,\n" in printed


def test_names_are_quoted_for_c_and_csv(
    exported: Path, table: LayerTable, built: Built, tmp_path: Path
) -> None:
    odd = 'twice, "so" ??/ \\ é'
    manifest = Manifest.load(exported / "model.json")
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for file in exported.iterdir():
        (renamed / file.name).symlink_to(file)
    (renamed / "model.json").unlink()
    steps = [
        step.model_copy(update={"layer": odd}) if step.layer == "twice" else step
        for step in manifest.steps
    ]
    bits = {odd if name == "twice" else name: 4 for name in manifest.weight_bits}
    manifest.model_copy(update={"steps": tuple(steps), "weight_bits": bits}).save(
        renamed / "model.json"
    )
    layers = [
        layer.model_copy(update={"name": odd}) if layer.name == "twice" else layer
        for layer in table.layers
    ]
    changed = table.model_copy(update={"layers": tuple(layers)})
    write_firmware(renamed, changed, tmp_path / "firmware")
    printed = built(tmp_path / "firmware")
    (tmp_path / "firmware" / "board.csv").write_text(printed)
    rows = read_measurements(tmp_path / "firmware" / "board.csv")
    assert odd in [row.layer for row in rows]


def test_what_does_not_belong_together_is_refused(
    exported: Path, table: LayerTable, tmp_path: Path
) -> None:
    plan = BitPlan.uniform(table, 4).with_weight_bits({"fc": 8})
    with pytest.raises(ArtifactError, match="'fc' is stored in 4 bits, and the plan says 8"):
        write_firmware(exported, table, tmp_path / "firmware", plan)
    other = table.model_copy(update={"layers": table.layers[1:], "network": "Other"})
    with pytest.raises(ArtifactError, match=r"another network than Other: only one .* 'first'"):
        write_firmware(exported, other, tmp_path / "firmware")
    with pytest.raises(ArtifactError, match="cannot read the Manifest"):
        write_firmware(tmp_path, table, tmp_path / "firmware")
    assert not (tmp_path / "firmware").exists()


def test_half_a_library_and_an_old_one_are_refused(
    exported: Path, table: LayerTable, tmp_path: Path
) -> None:
    manifest = Manifest.load(exported / "model.json")
    manifest.save(tmp_path / "model.json")
    with pytest.raises(ArtifactError, match=r"no whole C library: .*model\.h is missing"):
        write_firmware(tmp_path, table, tmp_path / "firmware")
    manifest.model_copy(update={"steps": ()}).save(tmp_path / "model.json")
    with pytest.raises(ArtifactError, match="does not name its steps: export it again"):
        write_firmware(tmp_path, table, tmp_path / "firmware")


def test_measurements_in_the_folder_are_not_replaced(
    exported: Path, table: LayerTable, tmp_path: Path
) -> None:
    write_firmware(exported, table, tmp_path / "firmware")
    write_firmware(exported, table, tmp_path / "firmware")
    (tmp_path / "firmware" / "board.csv").write_text("network,latency_ms\n")
    with pytest.raises(OutputError, match=r"such as board\.csv"):
        write_firmware(exported, table, tmp_path / "firmware")


def test_a_plan_of_its_own_gives_the_activations(
    exported: Path, table: LayerTable, tmp_path: Path
) -> None:
    plan = BitPlan.uniform(table, 4, activation_bits=2)
    write_firmware(exported, table, tmp_path / "firmware", plan)
    saved = BitPlan.load(tmp_path / "firmware" / "plan.json")
    assert saved.activation_bits == plan.activation_bits
