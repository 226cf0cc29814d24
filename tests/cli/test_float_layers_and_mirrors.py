"""Layers left in float and mirror images, asked for by flags and by the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sigmaquant.network import Network
from sigmaquant.quantized import QuantizedNetwork


def test_quantize_rounds_with_mirror_images(
    finished_project: Path, sigmaquant: Any, tmp_path: Path
) -> None:
    out = finished_project / "out"
    network = Network.load(out / "network.pt2")
    made = []
    for flags in ((), ("--mirrored",)):
        ended = sigmaquant(
            *("quantize", str(out / "network.pt2"), str(out / "plan.json"), *flags),
            *("--calibration", str(finished_project / "calibration.npz")),
            *("--out", str(tmp_path / "quantized")),
        )
        assert ended.code == 0, ended.err
        made.append(QuantizedNetwork.load(tmp_path / "quantized", network).state())
    plain, mirrored = made
    assert any(not torch.equal(value, mirrored[name]) for name, value in plain.items())


def test_capture_leaves_a_named_layer_in_float(
    project: Path, sigmaquant: Any, tmp_path: Path
) -> None:
    flags = ("--input-shape", "1x8x8", "--float-layer", "conv1", "--out", str(tmp_path / "n.pt2"))
    ended = sigmaquant("capture", "nets.py:Tiny", *flags)
    assert ended.code == 0, ended.err
    assert Network.load(tmp_path / "n.pt2").float_layers == ("conv1",)


def test_capture_knows_no_such_layer(project: Path, sigmaquant: Any) -> None:
    ended = sigmaquant(
        *("capture", "nets.py:Tiny", "--input-shape", "1x8x8", "--float-layer", "conv3")
    )
    assert ended.code != 0
    assert "no layer 'conv3'" in ended.err
    assert "conv2" in ended.err


def test_a_run_repeats_what_mirror_images_and_float_layers_change(
    project: Path, sigmaquant: Any
) -> None:
    file = project / "run.toml"
    config = file.read_text().replace('flash = "1000 B"', 'flash = "1300 B"')
    file.write_text(config)
    assert sigmaquant("run", "run.toml", "--epochs", "0").code == 0
    first = {
        p: (project / "out" / p).read_bytes() for p in ("scores.json", "quantized.safetensors")
    }

    file.write_text(config + "\n[quantize]\nmirrored = true\n")
    assert sigmaquant("run", "run.toml", "--epochs", "0").code == 0
    assert (project / "out" / "scores.json").read_bytes() == first["scores.json"]
    mirrored = (project / "out" / "quantized.safetensors").read_bytes()
    assert mirrored != first["quantized.safetensors"]

    ended = sigmaquant("run", "run.toml", "--epochs", "0", "--float-layer", "conv1")
    assert ended.code == 0, ended.err
    assert (project / "out" / "scores.json").read_bytes() != first["scores.json"]
    assert "Left in float: conv1." in ended.out
