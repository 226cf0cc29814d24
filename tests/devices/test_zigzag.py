"""ZigZag as an estimator: what it is asked, what it answers, and the tool itself."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from sigmaquant.bitplan import BitPlan
from sigmaquant.devices.estimators import ESTIMATORS, PlannedNetwork, ZigZag
from sigmaquant.devices.estimators import zigzag as module
from sigmaquant.devices.estimators.zigzag import workload_layer
from sigmaquant.errors import DeviceError, MissingExtraError, UnsupportedError
from sigmaquant.layers import LayerKind, LayerSpec, LayerTable

INSTALLED = importlib.util.find_spec("zigzag") is not None


def layer(name, kind, weight_shape, input_shape, output_shape, macs, groups=1, output="a"):
    return LayerSpec(
        name=name,
        kind=kind,
        weight_shape=weight_shape,
        input_shape=input_shape,
        output_shape=output_shape,
        macs=macs,
        groups=groups,
        input_groups=("a",),
        output_group=output,
    )


CONV = layer("conv", LayerKind.CONV, (8, 4, 3, 5), (4, 9, 16), (8, 5, 8), 8 * 4 * 15 * 40)
DEPTHWISE = layer("dw", LayerKind.DEPTHWISE_CONV, (6, 1, 3), (6, 10), (6, 10), 6 * 3 * 10, groups=6)
LINEAR = layer("fc", LayerKind.LINEAR, (10, 32), (7, 32), (7, 10), 7 * 320, output=None)


def planned(*layers, bits=4):
    table = LayerTable(network="Net", layers=layers, tensors=(), steps=())
    plan = BitPlan(
        weight_bits={each.name: bits for each in layers}, activation_bits={"a": 8}, origin="hand"
    )
    return PlannedNetwork(table, plan)


def sizes(spec):
    asked = workload_layer(spec, planned(spec))
    return dict(zip(asked["loop_dims"], asked["loop_sizes"], strict=True))


def test_a_convolution_has_its_loops_strides_and_widths():
    asked = workload_layer(CONV, planned(CONV, bits=3))
    assert sizes(CONV) == {"B": 1, "K": 8, "G": 1, "OX": 8, "OY": 5, "C": 4, "FX": 5, "FY": 3}
    assert asked["dimension_relations"] == ["ix=2*ox+1*fx", "iy=2*oy+1*fy"]
    assert asked["operand_precision"] == {"W": 3, "I": 8, "O_final": 8}


@pytest.mark.parametrize("spec", [CONV, DEPTHWISE, LINEAR])
def test_the_loops_of_every_kind_are_its_macs(spec):
    product = 1
    for size in sizes(spec).values():
        product *= size
    assert product == spec.macs


def test_vectors_and_places_of_use_are_a_batch():
    assert sizes(LINEAR)["B"] == 7
    assert sizes(CONV.model_copy(update={"macs": 3 * CONV.macs}))["B"] == 3
    assert sizes(DEPTHWISE)["G"] == 6


@pytest.fixture
def stub(monkeypatch):
    """ZigZag's process, which answers 1,000 cycles and 2 uJ for each layer that it is asked for."""
    requests = []

    def run(command, **_):
        request, result = map(Path, command[-2:])
        requests.append(json.loads(request.read_text()))
        answers = [{"energy_pj": 2e6, "cycles": 1000.0} for _ in requests[-1]["layers"]]
        result.write_text(json.dumps(answers))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(module.subprocess, "run", run)
    monkeypatch.setattr(
        module.importlib.util, "find_spec", lambda _: SimpleNamespace(origin="zigzag/__init__.py")
    )
    return requests


@pytest.fixture
def described(tmp_path):
    for name in ("chip.yaml", "chip.mapping.yaml"):
        (tmp_path / name).write_text("")
    return str(tmp_path / "chip.yaml")


def test_equal_layers_are_asked_for_once_and_counted_each(stub, described):
    again = CONV.model_copy(update={"name": "again"})
    found = ZigZag().estimate(planned(CONV, again, LINEAR), described, 500)
    assert len(stub[0]["layers"]) == 2
    assert Path(stub[0]["mapping"]).name == "chip.mapping.yaml"
    assert [each.name for each in found.operators] == ["conv", "again", "fc"]
    assert found.latency_ms == pytest.approx(3 * 1000 / 500e3)
    assert found.energy_uj == pytest.approx(6)
    assert (found.flash_bytes, found.ram_bytes) == (None, None)


def test_requests_that_cannot_be_answered(stub, described, tmp_path):
    tool, network = ZigZag(), planned(CONV)
    with pytest.raises(UnsupportedError, match=r"model\.tflite: ZigZag takes a captured network"):
        tool.estimate(Path("model.tflite"), described, 500)
    with pytest.raises(DeviceError, match="say at how many MHz it runs"):
        tool.estimate(network, described)
    with pytest.raises(DeviceError, match="did you mean 'edge_tpu_like'"):
        tool.estimate(network, "edge_tpu", 500)
    (tmp_path / "chip.mapping.yaml").unlink()
    with pytest.raises(DeviceError, match=r"chip\.mapping\.yaml: there is no such file"):
        tool.estimate(network, described, 500)
    assert stub == []


def test_a_tool_that_hangs_or_fails_is_reported(described, monkeypatch):
    def hang(command, *, timeout, **_):
        raise module.subprocess.TimeoutExpired(command, timeout)

    def fail(*_, **__):
        said = "Traceback\n  raise\nzigzag.X: NoValidLoopOrderingFoundException: too big\n more"
        return SimpleNamespace(returncode=1, stderr=said)

    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: SimpleNamespace())
    monkeypatch.setattr(module.subprocess, "run", hang)
    with pytest.raises(UnsupportedError, match="has not ended after 3600 s"):
        ZigZag().estimate(planned(CONV), described, 500)
    monkeypatch.setattr(module.subprocess, "run", fail)
    with pytest.raises(UnsupportedError, match=r"it said: .*NoValidLoop"):
        ZigZag().estimate(planned(CONV), described, 500)


def test_without_the_tool_its_extra_is_named(described, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"sigmaquant-edge\[zigzag\]"):
        ZigZag().estimate(planned(CONV), described, 500)


@pytest.mark.skipif(not INSTALLED, reason="ZigZag is not installed")
def test_the_tool_itself_finds_narrow_weights_cheaper():
    fc = layer("fc", LayerKind.LINEAR, (10, 64), (64,), (10,), 640)
    eight, two = (
        ESTIMATORS["zigzag"].estimate(planned(fc, bits=bits), "edge_tpu_like", 500)
        for bits in (8, 2)
    )
    assert 0 < two.energy_uj < eight.energy_uj
    assert 0 < two.latency_ms <= eight.latency_ms
    assert eight.tool == "ZigZag"
