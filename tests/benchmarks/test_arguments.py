from __future__ import annotations

import argparse

import pytest

from benchmarks import imagenet
from benchmarks.arguments import names_of


def test_names_are_split_at_commas() -> None:
    assert names_of(("a", "b", "c"))("c,a") == ("c", "a")


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="unknown: x, y; known: a, b"):
        names_of(("a", "b"))("y,a,x")


def test_a_network_that_is_not_measured_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["imagenet", "--networks", "resnet20"])
    with pytest.raises(SystemExit):
        imagenet.main()
    assert "unknown: resnet20; known: efficientnet_lite0, mobilenetv2" in capsys.readouterr().err
