from pathlib import Path

import numpy as np
import pytest

from sigmaquant.calibration.batches import as_batch
from sigmaquant.devices import load_profile
from sigmaquant.errors import ConfigError, DataError, DeviceError
from sigmaquant.export.formats import FORMATS, FormatOptions, check_stored_bits, format_named
from sigmaquant.export.tflite.options import TfliteOptions
from sigmaquant.lowering import lower
from sigmaquant.stages import check_exportable, export, random_inputs
from tests import nets


def test_an_unknown_format_is_a_config_error_that_names_the_others() -> None:
    with pytest.raises(ConfigError, match=r"unknown export format 'coreml'; known: .*tflite"):
        format_named("coreml")


def test_formats_that_need_data_refuse_without_them(tmp_path: Path) -> None:
    assert FORMATS["tflite"].needs_data
    with pytest.raises(DataError, match=r"tflite files hold .* give samples"):
        export(nets.quantized("mlp", 4), tmp_path / "net.tflite", format="tflite")
    assert list(tmp_path.iterdir()) == []


_RUNTIMES = {
    "onnx": "onnxruntime",
    "qonnx": "onnxruntime",
    "qnn": "onnxruntime",
    "tflite": "ai_edge_litert",
    "tflm": "tflite_micro",
}


@pytest.mark.parametrize("name", _RUNTIMES)
def test_a_network_is_exported_and_opened_in_its_runtime(name: str, tmp_path: Path) -> None:
    pytest.importorskip(_RUNTIMES[name])
    quantized = nets.quantized("mlp", 4)
    samples = [as_batch(batch, quantized.network, "sample") for batch in nets.loader("mlp")]
    path = tmp_path / FORMATS[name].file
    verification = export(quantized, path, format=name, samples=samples)
    files = path.iterdir() if path.is_dir() else [path]
    assert verification.file_bytes == sum(file.stat().st_size for file in files)
    inputs = random_inputs(lower(quantized), 5)
    (output,) = FORMATS[name].open(path)(*inputs.values())
    assert output.shape == (5, 4)
    assert output.dtype == np.float32


def test_options_reach_the_file(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    quantized = nets.quantized("resnet", 4)
    samples = [as_batch(batch, quantized.network, "sample") for batch in nets.loader("resnet")]
    sizes = {}
    for variant in ("small", "fast"):
        options = FormatOptions(tflite=TfliteOptions.model_validate({"variant": variant}))
        path = tmp_path / f"{variant}.tflite"
        sizes[variant] = export(
            quantized, path, format="tflite", samples=samples, options=options
        ).file_bytes
    assert sizes["small"] < sizes["fast"]


@pytest.mark.parametrize("name", _RUNTIMES)
def test_networks_are_tried_before_any_work(name: str) -> None:
    pytest.importorskip(_RUNTIMES[name])
    check_exportable(nets.captured("resnet"), name, FormatOptions())


def test_a_profile_that_counts_fewer_bits_than_the_library_stores_is_refused() -> None:
    profile = load_profile("mpic")
    check_stored_bits("c", profile)
    narrow = profile.activation_storage.model_copy(update={"bits": {3: 3, 8: 8}})
    promising = profile.model_copy(update={"activation_storage": narrow})
    check_stored_bits("onnx", promising)
    with pytest.raises(DeviceError, match=r"mpic counts .* 3 bits as 3 bits .* put 3 = 4 in bits"):
        check_stored_bits("c", promising)
