"""``sigmaquant devices profile``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import sigmaquant as sq
from sigmaquant.devices.energy_models import UnknownEnergy
from sigmaquant.layers import LayerKind
from sigmaquant.profiling import host
from sigmaquant.profiling.host_chains import LayerChain, OperatorChain
from sigmaquant.profiling.host_timing import LinkTime


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose chains take as long as their names are, without energy counters."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(host, "package_counters", lambda _: ())
    monkeypatch.setattr(
        host, "link_time", lambda chain, threads, runs: LinkTime(len(chain.name) / threads, 9.0)
    )
    layers = [LayerChain(kind, size, size, 8) for kind in LayerKind for size in (8, 16, 32)]
    monkeypatch.setattr(host, "layer_chains", lambda: layers)
    operators = [OperatorChain(n, (s, 4, 4)) for n in ("add", "float sigmoid") for s in (4, 8)]
    monkeypatch.setattr(host, "operator_chains", lambda: operators)


def test_a_host_becomes_a_profile(sigmaquant: Any, quick: None) -> None:
    ended = sigmaquant("devices", "profile", "--target", "host", "--out", "desk.toml")
    assert ended.code == 0, ended.err
    assert "depthwise_conv 8 to 8, 1x1 on 1x1, 8 bits" in ended.out
    assert "error of a layer left out of the fit:" in ended.out
    assert "no energy counter here" in ended.out
    assert "add on 4x4x4: 12.00 us" in ended.err
    profile = sq.load_profile("desk.toml")
    assert profile.name == "desk"
    assert isinstance(profile.energy, UnknownEnergy)
    shown = sigmaquant("devices", "show", "desk.toml")
    assert shown.code == 0, shown.err
    assert "energy: unknown (no energy counter here" in shown.out


def test_json_is_the_profile(sigmaquant: Any, quick: None) -> None:
    ended = sigmaquant("devices", "profile", "--threads", "2", "--name", "mine", "--json", "-q")
    content = json.loads(ended.out)
    assert content["name"] == "mine"
    assert "on 2 threads" in content["stack"]
    assert sq.load_profile("host.toml").name == "mine"
    assert ended.err == ""


def test_an_unknown_target_is_refused(sigmaquant: Any) -> None:
    ended = sigmaquant("devices", "profile", "--target", "toaster")
    assert ended.code == 2
    assert "unknown target 'toaster'; there is host" in ended.err


def test_an_emulated_core_without_a_compiler(
    sigmaquant: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ended = sigmaquant("devices", "profile", "--target", "cortex-m7")
    assert ended.code == 2
    assert "no compiler for Cortex-M: install arm-none-eabi-gcc" in ended.err
    assert not list(tmp_path.iterdir())


def test_a_run_takes_the_profile_and_reports_no_energy(
    sigmaquant: Any, project: Path, quick: None
) -> None:
    assert sigmaquant("devices", "profile", "--out", "desk.toml", "-q").code == 0
    command = ("run", "run.toml", "--device", "desk.toml", "--epochs", "0", "--out", "out")
    ended = sigmaquant(*command)
    assert ended.code == 0, ended.err
    report = sq.RunReport.load("out/report.json")
    assert [use.metric for use in report.budgets] == ["flash_bytes", "peak_ram_bytes", "latency_ms"]
    assert report.budgets[2].mark == "measured"
    assert {layer.energy_uj for layer in report.layers} == {None}
    refused = sigmaquant(*command, "--energy", "1mJ")
    assert refused.code == 2
    assert "the energy of desk is not known (no energy counter here" in refused.err
