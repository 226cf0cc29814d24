"""Vela as an estimator: its reports by hand, and the tool itself where it is installed."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest

from sigmaquant.devices.estimators import ESTIMATORS, PlannedNetwork, Vela
from sigmaquant.devices.estimators import vela as module
from sigmaquant.devices.estimators.vela import read_reports
from sigmaquant.errors import DeviceError, MissingExtraError, UnsupportedError

SUMMARY = (
    "network,core_clock,inference_time,sram_memory_used,off_chip_flash_memory_used\n"
    "net,500000000.0,0.0002,21.5,30.25\n"
)
LAYERS = (
    "Original Operator,Op Cycles,Name\n"
    "Conv2D,75000,first\n"
    "Conv2D,0.0,first relu\n"
    "FullyConnected,25000,last\n"
)
INSTALLED = importlib.util.find_spec("ethosu") is not None


@pytest.fixture
def reports(tmp_path):
    (tmp_path / "net_summary_Ethos_U55_High_End_Embedded.csv").write_text(SUMMARY)
    (tmp_path / "net_per-layer.csv").write_text(LAYERS)
    return tmp_path


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"not a model")
    return path


def test_reports_are_read_in_our_units(reports):
    found = read_reports(reports, "ethos-u55-128")
    assert found.latency_ms == pytest.approx(0.2)
    assert (found.flash_bytes, found.ram_bytes) == (30976, 22016)
    assert [each.name for each in found.operators] == ["first", "first relu", "last"]
    assert sum(each.latency_ms for each in found.operators) == pytest.approx(found.latency_ms)


@pytest.mark.parametrize("damage", ["no file", "no column", "two rows", "no number"])
def test_other_reports_are_refused(reports, damage):
    summary = next(reports.glob("*summary*"))
    if damage == "no file":
        summary.unlink()
    elif damage == "no column":
        summary.write_text(SUMMARY.replace("core_clock", "clock"))
    elif damage == "two rows":
        summary.write_text(SUMMARY + SUMMARY.splitlines()[1] + "\n")
    else:
        summary.write_text(SUMMARY.replace("0.0002", "fast"))
    with pytest.raises(UnsupportedError, match="not those of version 5"):
        read_reports(reports, "ethos-u55-128")


def test_an_unknown_target_is_refused_with_the_nearest(model):
    with pytest.raises(DeviceError, match="did you mean 'ethos-u55-32'"):
        Vela().estimate(model, "ethos-u55-33")


def test_a_network_is_refused():
    with pytest.raises(UnsupportedError, match=r"reads exported \.tflite files"):
        Vela().estimate(PlannedNetwork(None, None), "ethos-u55-128")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="no such file"):
        Vela().estimate(tmp_path / "none.tflite", "ethos-u55-128")


def test_without_the_tool_its_extra_is_named(model, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"sigmaquant-edge\[vela\]"):
        Vela().estimate(model, "ethos-u55-128")


def test_a_tool_that_hangs_is_ended(model, monkeypatch):
    def hang(command, *, timeout, **_):
        raise module.subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.setattr(module.subprocess, "run", hang)
    with pytest.raises(UnsupportedError, match="has not ended after 600 s"):
        Vela().estimate(model, "ethos-u55-128")


@pytest.mark.skipif(not INSTALLED, reason="Vela is not installed")
def test_a_file_that_vela_cannot_read_is_refused_with_its_words(model):
    with pytest.raises(UnsupportedError, match="Vela failed; it said: "):
        ESTIMATORS["vela"].estimate(model, "ethos-u55-128")
