"""What runtimes store and run, and how they go with devices."""

from __future__ import annotations

import math

import pytest

from sigmaquant.devices import Runtime, available_runtimes, load_profile, load_runtime
from sigmaquant.devices.runtime import Kernel, WeightCode
from sigmaquant.errors import ConfigError, DeviceError
from sigmaquant.layers import WIDTHS

SHIPPED = ("c", "litert-fast", "litert-small", "onnxruntime", "onnxruntime-coded", "qnn", "tflm")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_runtimes_are_loaded_by_name_and_by_path(name, tmp_path):
    assert name in available_runtimes()
    runtime = load_runtime(name)
    assert runtime.name == name
    copy = tmp_path / "mine.toml"
    copy.write_text('[overhead]\nchannel_bytes = "many"', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.toml:2: overhead\.channel_bytes"):
        load_runtime(copy)


def test_nothing_else_is_shipped():
    assert available_runtimes() == SHIPPED


@pytest.mark.parametrize(
    ("name", "matrix", "window"),
    [
        ("onnxruntime", [2, 3, 4, 5, 6, 7, 8], [2, 3, 4, 5, 6, 7, 8]),
        ("onnxruntime-coded", [2, 3, 4, 5, 6, 7, 8], [2, 3, 4, 5, 6, 7, 8]),
        ("c", [2, 3, 4, 5, 6, 7, 8], [2, 3, 4, 5, 6, 7, 8]),
        ("litert-small", [2, 4, 4, 8, 8, 8, 8], [4, 4, 4, 8, 8, 8, 8]),
        ("litert-fast", [4, 4, 4, 8, 8, 8, 8], [8] * 7),
        ("tflm", [8] * 7, [4, 4, 4, 8, 8, 8, 8]),
        ("qnn", [4, 4, 4, 8, 8, 8, 8], [4, 4, 4, 8, 8, 8, 8]),
    ],
)
def test_a_width_takes_the_next_container(name, matrix, window):
    runtime = load_runtime(name)
    assert [runtime.kernel(matrix=True).container_bits(bits) for bits in WIDTHS] == matrix
    assert [runtime.kernel(matrix=False).container_bits(bits) for bits in WIDTHS] == window


@pytest.mark.parametrize(
    ("weights", "channels", "bits", "expected"),
    [
        (4096, 16, 8, (4096, False)),
        (4096, 16, 4, (4096 // 2 + 16 * 16 + 140, True)),
        (4096, 16, 7, (4096, False)),  # 128 values a channel are half the bytes
        (4096, 4096, 4, (4096, False)),
        (576, 64, 5, (576, False)),
        # A channel of nine weights has nine values at most.
        (5760, 640, 2, (5760 // 4 + 640 * 4 + 140, True)),
    ],
)
def test_a_table_is_used_where_it_takes_fewer_bytes(weights, channels, bits, expected):
    stored = load_runtime("tflm").stored(weights, channels, bits, matrix=True)
    assert (stored.size_bytes, stored.in_table) == expected


def test_tables_stand_beside_the_container_of_their_kernel():
    tflm = load_runtime("tflm")
    assert not tflm.stored(4096, 16, 4, matrix=False).in_table  # int4 takes 2048
    assert tflm.stored(4096, 16, 3, matrix=False).size_bytes == 4096 * 3 // 8 + 16 * 8 + 140


def test_weights_in_code_take_fewer_bits_than_their_containers():
    plain, coded = load_runtime("onnxruntime"), load_runtime("onnxruntime-coded")
    typical = [coded.code.bits(bits, None) for bits in WIDTHS]
    assert typical == sorted(typical)
    assert all(taken < bits for bits, taken in zip(WIDTHS, typical, strict=True))
    for matrix in (False, True):
        assert plain.stored(4096, 16, 5, matrix=matrix).size_bytes == 4096 * 5 // 8
        assert coded.stored(4096, 16, 4, matrix=matrix).size_bytes == -(-4096 * 2.9 // 8)


def test_layers_whose_entropy_is_known_are_counted_by_it():
    coded = load_runtime("onnxruntime-coded")
    known = coded.stored(4096, 16, 4, matrix=True, entropy_bits=2.5)
    assert known.size_bytes == math.ceil(4096 * 1.02 * 2.5 / 8)
    even = coded.stored(4096, 16, 4, matrix=True, entropy_bits=4.0)
    assert even.size_bytes == 4096 * 4 // 8  # no code is longer than the width


def test_few_weights_do_not_pay_for_what_undoes_a_code():
    code = load_runtime("onnxruntime-coded").code
    assert code.overhead_bytes(10**6) == code.operator_bytes
    assert code.overhead_bytes(1000) == math.ceil(1000 * (7 - 5.46) / 8)
    assert code.overhead_bytes(0) == 0


def test_a_device_takes_a_runtime_in_place_of_its_stack():
    m4, tflm = load_profile("cortex-m4"), load_profile("cortex-m4", "tflm")
    assert (tflm.name, tflm.stack) == ("cortex-m4 + tflm", "TensorFlow Lite Micro")
    assert tflm.runtime == load_runtime("tflm")
    changed = {"name": m4.name, "stack": m4.stack, "runtime": None}
    assert tflm.model_copy(update=changed) == m4


def test_a_device_has_one_runtime():
    profile = load_profile("cortex-m4", "tflm")
    assert profile.with_runtime(load_runtime("tflm")) is profile
    with pytest.raises(DeviceError, match=r"cortex-m4 \+ tflm cannot be given c too"):
        profile.with_runtime(load_runtime("c"))


def test_an_unknown_runtime_is_refused_with_the_nearest():
    with pytest.raises(DeviceError, match=r"unknown runtime 'litert'; did you mean 'litert-fast'?"):
        load_profile("cortex-m4", "litert")


@pytest.mark.parametrize("supports", [{4: (8,)}, {4: (4,), 8: (4,)}])
def test_a_device_without_figures_for_int8_is_refused(supports):
    m4 = load_profile("cortex-m4")
    narrow = m4.model_copy(update={"supports": dict.fromkeys(m4.supports, supports)})
    with pytest.raises(DeviceError, match=r"tflm cannot be put on cortex-m4: .* conv at 8 bits"):
        narrow.with_runtime(load_runtime("tflm"))


KERNEL = {"source": "s", "kind": "derived"}


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ({"containers": [2, 4]}, "containers lack 8 bits"),
        ({"containers": [4, 8], "time_over_int8": {8: 1.0}}, "a figure for each"),
        ({"containers": []}, "at least 1"),
    ],
)
def test_kernels_that_say_too_little_are_refused(kernel, expected):
    with pytest.raises(ValueError, match=expected):
        Kernel.model_validate({**KERNEL, **kernel})


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"mean_bits": {4: 3.6}}, "mean_bits needs a figure for each"),
        ({"over_entropy": 0.9}, "greater than or equal to 1"),
        ({"rounding": ""}, "rounding"),
    ],
)
def test_a_code_that_cannot_be_is_refused(changed, expected):
    code = load_runtime("onnxruntime-coded").code.model_dump()
    with pytest.raises(ValueError, match=expected):
        WeightCode.model_validate({**code, **changed})


def test_a_runtime_is_a_file_of_its_own(tmp_path):
    copy = tmp_path / "mine.toml"
    source = load_runtime("c").model_copy(update={"name": "mine"})
    copy.write_text(
        "\n".join(
            [
                'name = "mine"',
                f'title = "{source.title}"',
                *_section("matrix", [2, 8]),
                *_section("window", [8]),
                "[overhead]",
                "channel_bytes = 8",
                "step_bytes = 0",
                "file_bytes = 0",
                'source = "s"',
                'kind = "derived"',
            ]
        ),
        encoding="utf-8",
    )
    assert isinstance(load_runtime(copy), Runtime)
    assert load_profile("cortex-m4", str(copy)).name == "cortex-m4 + mine"


def _section(name, containers):
    return [f"[{name}]", f"containers = {containers}", 'source = "s"', 'kind = "derived"']
