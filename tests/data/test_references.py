"""The user's objects by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sigmaquant.data.references import import_object, is_reference
from sigmaquant.errors import DataError, ModelError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder; modules imported from it are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


def test_module_of_the_current_folder(folder: Path) -> None:
    (folder / "my_reference_module.py").write_text("class A:\n    b = 3\n")
    assert import_object("my_reference_module:A.b", DataError) == 3


def test_file_elsewhere_imports_its_neighbours(folder: Path) -> None:
    nested = folder / "deep"
    nested.mkdir()
    (nested / "neighbour_module.py").write_text("VALUE = 7\n")
    (nested / "entry.py").write_text("from neighbour_module import VALUE\n")
    assert import_object(f"{nested}/entry.py:VALUE", DataError) == 7


def test_a_file_is_imported_once(folder: Path) -> None:
    (folder / "once.py").write_text("value = object()\n")
    first = import_object("once.py:value", DataError)
    assert import_object(str(folder / "once.py") + ":value", DataError) is first


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("no_such_module_here:f", "no module named 'no_such_module_here'"),
        ("missing.py:f", "no such file: missing.py"),
        ("good_module:absent", "good_module has no 'absent'"),
        ("broken_module:f", "importing broken_module failed: ZeroDivisionError"),
        ("needs_absent:f", "importing needs_absent failed: No module named 'absent_dependency'"),
        ("no_colon", "write package.module:name"),
    ],
)
def test_failures_name_the_cause(folder: Path, reference: str, message: str) -> None:
    (folder / "good_module.py").write_text("def present(): ...\n")
    (folder / "broken_module.py").write_text("1 / 0\n")
    (folder / "needs_absent.py").write_text("import absent_dependency\n")
    with pytest.raises(ModelError, match=message):
        import_object(reference, ModelError)


def test_absent_name_lists_what_there_is(folder: Path) -> None:
    (folder / "listing_module.py").write_text("def training(): ...\n")
    with pytest.raises(DataError, match="it has training"):
        import_object("listing_module:trainin", DataError)


@pytest.mark.parametrize("text", ["data.npz", "some/folder", "C:/images", "C:\\images", "folder"])
def test_paths_are_no_references(text: str) -> None:
    assert not is_reference(text)
