"""Models by name, and their weights."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file, save_model

from sigmaquant.data.models import build_model, load_network
from sigmaquant.errors import ModelError

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, features=3):
        super().__init__()
        self.first = nn.Linear(2, features)
        self.last = nn.Linear(features, 4)

    def forward(self, x):
        return self.last(self.first(x).relu())

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 3)
        self.b = nn.Linear(3, 3)
        self.b.weight = self.a.weight

def wide():
    return Net(5)

def fails():
    return Net("three")

instance = Net()
number = 3

def returns_a_list():
    return []
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "nets.py").write_text(SOURCE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return f"{tmp_path}/nets.py"


@pytest.mark.parametrize("name", ["Net", "wide", "instance"])
def test_class_factory_or_instance(module: str, name: str) -> None:
    model = build_model(f"{module}:{name}")
    assert not model.training
    assert model(torch.zeros(1, 2)).shape == (1, 4)


def test_weights_are_loaded(module: str, tmp_path: Path) -> None:
    saved = build_model(f"{module}:Net")
    save_file(saved.state_dict(), tmp_path / "w.safetensors")
    loaded = build_model(f"{module}:Net", tmp_path / "w.safetensors")
    for name, tensor in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_tied_weights_may_be_stored_once(module: str, tmp_path: Path) -> None:
    saved = build_model(f"{module}:Tied")
    save_model(saved, str(tmp_path / "w.safetensors"))
    loaded = build_model(f"{module}:Tied", tmp_path / "w.safetensors")
    assert torch.equal(loaded.b.weight, saved.a.weight)  # type: ignore[union-attr, arg-type]


def test_weights_that_do_not_fit_are_listed(module: str, tmp_path: Path) -> None:
    state = build_model(f"{module}:wide").state_dict()
    del state["last.bias"]
    state["extra"] = torch.zeros(1)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ModelError) as raised:
        build_model(f"{module}:Net", tmp_path / "w.safetensors")
    message = str(raised.value)
    assert "w.safetensors does not fit the Net" in message
    assert "first.weight: the model has (3, 2), the file (5, 2)" in message
    assert "missing: last.bias (4,)" in message
    assert "unexpected: extra" in message


def test_long_lists_are_cut(module: str, tmp_path: Path) -> None:
    save_file({f"t{i}": torch.zeros(1) for i in range(20)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="and 16 more"):
        build_model(f"{module}:Net", tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fails", r"fails\(\) failed: TypeError"),
        ("returns_a_list", "gave a list"),
        ("number", "is a int"),
        ("absent", "has no 'absent'"),
    ],
)
def test_names_that_give_no_model(module: str, name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_model(f"{module}:{name}")


def test_unreadable_files(module: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        build_model(f"{module}:Net", tmp_path / "absent.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"bad")
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        build_model(f"{module}:Net", tmp_path / "bad.safetensors")


def test_a_keras_file_is_a_model_with_its_own_weights(tmp_path: Path) -> None:
    from tests.network.keras_models import layers, sequential

    path = tmp_path / "net.keras"
    sequential(layers.Dense(3, name="fc"), shape=(4,)).save(path)
    network = load_network(str(path), None, list)
    assert [layer.name for layer in network.table.layers] == ["fc"]
    with pytest.raises(ModelError, match=r"net\.keras holds its own weights; leave out w"):
        load_network(str(path), "w", list)


def test_folders_and_tflite_files_go_to_tensorflow(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no SavedModel"):
        load_network(str(tmp_path), None, list)
    with pytest.raises(ModelError, match="no such file"):
        load_network(str(tmp_path / "net.tflite"), None, list)
