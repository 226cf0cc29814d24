"""``--activation-widths`` and ``--activation-bits``, and what is said where widths are chosen."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import pytest

import sigmaquant as sq


@pytest.fixture
def device(project: Path) -> str:
    """A profile that keeps activations of 4 and 8 bits packed."""
    text = (resources.files("sigmaquant.devices") / "data" / "shift-add.toml").read_text("utf-8")
    text = text.replace("[8]", "[4, 8]").replace("{ 8 = 8 }", "{ 4 = 4, 8 = 8 }")
    (project / "packed.toml").write_text(text, encoding="utf-8")
    return "packed.toml"


@pytest.fixture
def files(finished_project: Path, device: str, sigmaquant: Any) -> tuple[str, ...]:
    """Network, scores of its weights and activations, and the device."""
    network = str(finished_project / "out" / "network.pt2")
    data = ("--calibration", "calibration.npz")
    ended = sigmaquant("score", network, *data, "--activation-widths", "4,8")
    assert ended.code == 0, ended.err
    return (network, "scores.json", "--device", device)


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ("4;8", "--activation-widths: expected numbers of bits such as 4,8, not '4;8'"),
        ("4,99", "activations cannot have 99 bits; known: "),
    ],
)
def test_widths_that_cannot_be_scored(
    finished_project: Path, project: Path, sigmaquant: Any, widths: str, message: str
) -> None:
    network = str(finished_project / "out" / "network.pt2")
    data = ("--calibration", "calibration.npz")
    ended = sigmaquant("score", network, *data, "--activation-widths", widths)
    assert ended.code == 2
    assert message in ended.err


def test_search_lists_the_activations_where_their_widths_differ(
    files: tuple[str, ...], sigmaquant: Any
) -> None:
    ended = sigmaquant("search", *files, "--ram", "500B")
    assert ended.code == 0, ended.err
    widths = sq.BitPlan.load("plan.json").activation_bits
    assert set(widths.values()) == {4, 8}
    lines = [line.split() for line in ended.out.splitlines()]
    assert ["activations", "bits"] in lines
    assert all([group, str(bits)] in lines for group, bits in widths.items())


def test_one_width_for_all(files: tuple[str, ...], sigmaquant: Any) -> None:
    ended = sigmaquant("search", *files, "--activation-bits", "4")
    assert ended.code == 0, ended.err
    assert set(sq.BitPlan.load("plan.json").activation_bits.values()) == {4}
    assert "activations" not in ended.out


def test_3_ram_out_of_reach_names_the_tensors(files: tuple[str, ...], sigmaquant: Any) -> None:
    ended = sigmaquant("search", *files, "--ram", "100B")
    assert ended.code == 3
    assert "with the narrowest activations the peak is" in ended.err
    assert "takes" in ended.err


def test_2_a_width_that_the_device_lacks(files: tuple[str, ...], sigmaquant: Any) -> None:
    ended = sigmaquant("search", *files, "--activation-bits", "16")
    assert ended.code == 2
    assert "does not store activations of 16 bits; it stores 4, 8" in ended.err


def test_the_front_trades_ram(files: tuple[str, ...], sigmaquant: Any) -> None:
    ended = sigmaquant("pareto", *files, "--metrics", "rise,peak_ram_bytes")
    assert ended.code == 0, ended.err
    assert "peak_ram_bytes" in ended.out
    ended = sigmaquant(
        "pareto", *files, "--metrics", "rise,peak_ram_bytes", "--activation-bits", "8"
    )
    assert ended.code == 2
    assert "'peak_ram_bytes' cannot be traded" in ended.err
