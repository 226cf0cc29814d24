from __future__ import annotations

from pathlib import Path

import pytest

import sigmaquant.devices
from sigmaquant.devices import available_profiles, load_profile
from sigmaquant.errors import ConfigError, DeviceError

SHIPPED = Path(sigmaquant.devices.__file__).parent / "data"
M4_FILE = Path(__file__).parents[2] / "benchmarks/data/prototype_cortex_m4.toml"


@pytest.fixture
def edited(tmp_path):
    """The path of the M4 profile with one text replaced."""

    def write(old, new):
        text = M4_FILE.read_text(encoding="utf-8")
        assert text.count(old) == 1
        path = tmp_path / "board.toml"
        path.write_text(text.replace(old, new), encoding="utf-8")
        return path

    return write


def line_of(path, text):
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, start=1) if text in line)


def test_the_shipped_profiles_are_listed_by_name():
    assert available_profiles() == (
        "cortex-m4",
        "cortex-m7",
        "ethos-u55-128",
        "mpic",
        "qcs6490",
        "raspberry-pi-4",
        "shift-add",
        "stm32u385",
        "stm32u575",
    )


@pytest.mark.parametrize("name", available_profiles())
def test_a_shipped_profile_loads_under_its_own_name(name):
    assert load_profile(name).name == name


def test_a_path_works_as_text_and_as_path(edited):
    path = edited('name = "cortex-m4"', 'name = "my board"')
    assert load_profile(path).name == "my board"
    assert load_profile(str(path)) == load_profile(path)


def test_an_unknown_device_is_refused_with_the_nearest_and_all_names():
    with pytest.raises(DeviceError) as caught:
        load_profile("cortex_m4")
    message = str(caught.value)
    assert "unknown device 'cortex_m4'; did you mean 'cortex-m4'?" in message
    assert "Shipped: cortex-m4, cortex-m7, ethos-u55-128, " in message
    assert "The path of a TOML file works too" in message


def test_a_missing_file_is_refused():
    with pytest.raises(ConfigError, match=r"none\.toml: cannot read"):
        load_profile("none.toml")


def test_a_misspelt_key_is_named_with_file_line_and_the_right_one(edited):
    path = edited("cycles_per_byte", "cycle_per_byte")
    line = line_of(path, "cycle_per_byte")
    with pytest.raises(ConfigError) as caught:
        load_profile(path)
    assert (
        f"{path}:{line}: unknown key 'latency.weight_fetch.cycle_per_byte'; "
        "did you mean 'cycles_per_byte'?"
    ) in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[clock]\nmhz = 120  # MHz", "[clocks]", "unknown key 'clocks'; did you mean 'clock'"),
        ("mhz = 120", "mhz = 0", "clock.mhz: expected greater than 0"),
        ("mhz = 120", "mhz = nan", "clock.mhz: expected a finite number"),
        ('model = "power"', 'model = "battery"', "expected tags: 'power', 'ops'"),
        ("active_mw = 41.7", "static_mw = 41.7", "'energy.static_mw'; did you mean 'active_mw'?"),
        ("cycles_per_byte = 0.33", "cycles_per_byte = -1", "expected greater than or equal to 0"),
        (
            'kind = "derived"\n\n[latency]',
            'kind = "guess"\n\n[latency]',
            "'derived' or 'estimated'",
        ),
        ("bits = { 2 = 2, 3", "bits = { 2 = 2, 9", "expected less than or equal to 8"),
        ("bits = { 2 = 2, 3 = 3", "bits = { 2 = 2, 3 = 2", "3 bits does not fit into 2 bits"),
        ("bits = { 8 = 8 }", "bits = { 8 = 4 }", "8 bits does not fit into 4 bits"),
        ("bits = { 8 = 8 }", "bits = { 4 = 4 }", "activation_storage.bits lacks 8 bits"),
        ("bits = { 2 = 2, 3 = 3,", "bits = { 2 = 2,", "weight_storage.bits lacks 3 bits"),
        ("{ 2 = 1.28, 3 = 1.72,", "{", "latency.kernels.conv.cycles_per_mac lacks 2, 3 bits"),
        ("7 = 4.0, 8 = 1.9 }", "7 = 4.0 }", "depthwise_conv.cycles_per_weight lacks 8 bits"),
        ("[latency.kernels.linear]", "[latency.kernels.lin]", "'depthwise_conv' or 'linear'"),
        ("weight_scratch_bytes = 0", "weight_scratch_bytes = 9000", "9,000 is more than 8,192"),
    ],
)
def test_a_profile_that_says_nonsense_is_refused(edited, old, new, expected):
    with pytest.raises(ConfigError) as caught:
        load_profile(edited(old, new))
    assert expected in str(caught.value)


def test_a_supported_kind_without_kernel_figures_is_refused(tmp_path):
    text = M4_FILE.read_text(encoding="utf-8")
    start = text.index("[latency.kernels.linear]")
    end = text.index("[latency.kernels.depthwise_conv]")
    path = tmp_path / "board.toml"
    path.write_text(text[:start] + text[end:], encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no latency\.kernels\.linear"):
        load_profile(path)


def test_energy_by_operation_needs_a_figure_for_each_width(tmp_path):
    text = (SHIPPED / "shift-add.toml").read_text(encoding="utf-8")
    path = tmp_path / "accelerator.toml"
    path.write_text(text.replace("7 = 0.309, ", ""), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"energy\.pj_per_mac lacks 7 bits"):
        load_profile(path)


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("qcs6490", "{ 4 = 4600, 8 = 4600 }", "{ 8 = 4600 }", "rates.conv.gmac_per_s lacks 4 bits"),
        ("qcs6490", "[latency.rates.linear]", "[latency.rates.lin]", "'linear'"),
        (
            "mpic",
            "2 = 0.286, 4 = 0.286",
            "4 = 0.286",
            "at_activation_bits.4.cycles_per_mac lacks 2",
        ),
        (
            "mpic",
            "bits = { 2 = 2, 4 = 4, 8 = 8 }  # bits in RAM",
            "bits = { 4 = 4, 8 = 8 } #",
            "lacks",
        ),
        ("ethos-u55-128", "compressed = true", "compressed = false", "does not fit into 6.9 bits"),
    ],
)
def test_other_models_are_checked_as_well(tmp_path, name, old, new, expected):
    text = (SHIPPED / f"{name}.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "device.toml"
    path.write_text(text.replace(old, new).replace("7 = 7.1", "7 = 6.9"), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_profile(path)
    assert expected in str(caught.value)


def test_cycles_without_a_clock_are_refused(tmp_path):
    text = M4_FILE.read_text(encoding="utf-8")
    start, end = text.index("[clock]"), text.index("[memory]")
    path = tmp_path / "board.toml"
    path.write_text(text[:start] + text[end:], encoding="utf-8")
    with pytest.raises(ConfigError, match=r"latency in cycles needs a clock"):
        load_profile(path)


def test_unpacking_first_needs_the_kernel_for_8_bits(tmp_path):
    text = M4_FILE.read_text(encoding="utf-8")
    for removed in (", 8 = [8]", ", 8 = 1.59"):
        text = text.replace(removed, "")
    path = tmp_path / "board.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"conv\.unpack_first runs the kernel for 8 bits"):
        load_profile(path)
