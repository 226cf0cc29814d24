"""Settings from a file and from flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from sigmaquant.config import RunConfig
from sigmaquant.errors import ConfigError

FULL = """
[model]
factory = "nets.py:small"
weights = "weights/small.safetensors"

[data]
calibration = "calibration.npz"
training = "my_package.data:training"
evaluation = "/data/test"
deployment = "field.npz"
batch_size = 32
images = { size = [224, 224], mean = [0.485, 0.456, 0.406], std = [0.2, 0.2, 0.2] }

[target]
device = "cortex-m4"
flash = "96 KiB"
ram = 65536
latency = "40 ms"
energy = "3.2 mJ"

[search]
strategy = "greedy"

[finetune]
epochs = 0

[gates]
max_drop = 1.0

[run]
out = "out"
seed = 7
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(text)
    return path


def test_every_section(tmp_path: Path) -> None:
    config = RunConfig.load(written(tmp_path, FULL))
    assert config.target.budget().limits() == {
        "flash_bytes": 98304,
        "peak_ram_bytes": 65536,
        "latency_ms": 40.0,
        "energy_uj": 3200.0,
    }
    assert config.data.images.size == (224, 224)
    assert (config.search.strategy, config.finetune.epochs) == ("greedy", 0)
    assert (config.gates.max_drop, config.run.seed) == (1.0, 7)
    assert config.completed() is config


def test_files_are_relative_to_the_toml_file(tmp_path: Path) -> None:
    config = RunConfig.load(written(tmp_path, FULL))
    assert config.model.factory == f"{tmp_path}/nets.py:small"
    assert config.model.weights == f"{tmp_path}/weights/small.safetensors"
    assert config.data.calibration == f"{tmp_path}/calibration.npz"
    assert config.data.training == "my_package.data:training"
    assert config.data.evaluation == "/data/test"
    assert config.data.deployment == f"{tmp_path}/field.npz"
    assert config.target.device == "cortex-m4"
    assert config.run.out == f"{tmp_path}/out"


def test_flags_override_the_file(tmp_path: Path) -> None:
    config = RunConfig.load(written(tmp_path, FULL)).overridden(
        {
            "target": {"flash": "32 KiB", "ram": None},
            "model": {"factory": "other.py:net"},
            "finetune": {"epochs": 3},
        }
    )
    assert config.target.flash == "32 KiB"
    assert config.target.ram == 65536
    assert config.model.factory == "other.py:net"
    assert config.finetune.epochs == 3
    assert config.data.images.size == (224, 224)


def test_defaults_need_no_file() -> None:
    config = RunConfig().overridden({"target": {"flash": "1 MiB"}})
    assert config.target.budget().flash_bytes == 1024**2
    assert config.data.hold_back == 0.25


def test_everything_missing_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        RunConfig().completed()
    for name in ("--model", "--calibration", "--device", "--out", "[target] device"):
        assert name in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[target]\nflsh = '1 KiB'",
            r"run\.toml:2: unknown key 'target\.flsh'; did you mean 'flash'",
        ),
        ("[taget]\nflash = 1", r"run\.toml:1: unknown key 'taget'; did you mean 'target'"),
        ("[target]\nflash = '12 bits'", r"run\.toml:2: target\.flash: .*unknown unit 'bits'"),
        ("[target]\nlatency = '-1 ms'", r"run\.toml:2: target\.latency: .*positive"),
        ("[search]\nstrategy = 'gredy'", r"run\.toml:2: search\.strategy: .*mean 'greedy'"),
        ("[gates]\nmax_drop = -1", r"run\.toml:2: gates\.max_drop"),
        ("[data]\nbatch_size = '4'", r"run\.toml:2: data\.batch_size"),
        ("[data]\nimages = { size = [0, 1] }", r"run\.toml:2: data\.images"),
        ("[finetune\n", r"run\.toml:1: not TOML"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig.load(written(tmp_path, text))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot read the file"):
        RunConfig.load(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"target": {"flash": "-5KiB"}}, "--flash: .*positive"),
        ({"gates": {"max_drop": -1.0}}, r"--max-drop: expected .* not -1\.0"),
    ],
)
def test_mistakes_in_flags_name_the_flag(flags: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig().overridden(flags)


@pytest.mark.parametrize(
    ("text", "runtime"),
    [
        ("", None),
        ('[export]\nformat = "c"', None),
        ('[export]\nformat = "tflm"', "tflm"),
        ('[export]\nformat = "tflite"', "litert-small"),
        ('[export]\nformat = "tflite"\ntflite = { variant = "fast" }', "litert-fast"),
        ("[export]\ncoded = true", "onnxruntime-coded"),
        ('[export]\nformat = "tflite"\n[target]\nruntime = "onnxruntime"', "onnxruntime"),
    ],
)
def test_widths_are_chosen_for_the_formats_runtime_unless_another_is_named(
    tmp_path: Path, text: str, runtime: str | None
) -> None:
    assert RunConfig.load(written(tmp_path, text)).runtime == runtime


def test_a_runtime_of_the_users_own_lies_beside_the_configuration(tmp_path: Path) -> None:
    config = RunConfig.load(written(tmp_path, '[target]\nruntime = "mine.toml"'))
    assert config.runtime == str(tmp_path / "mine.toml")
