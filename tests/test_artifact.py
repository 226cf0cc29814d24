from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from typing import Any

import pytest

from sigmaquant.artifact import written_atomically
from sigmaquant.bitplan import BitPlan
from sigmaquant.errors import ArtifactError, OutputError

PLAN = BitPlan(weight_bits={"conv": 3}, activation_bits={"x": 8})


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "plan.json"
    PLAN.save(path)
    assert BitPlan.load(path) == PLAN
    assert BitPlan.load(path).digest() == PLAN.digest()
    assert [p.name for p in path.parent.iterdir()] == ["plan.json"]


def test_a_read_only_folder_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The superuser may write into a read-only folder, so the system's refusal is played.
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(OutputError, match=r"cannot write .*plan\.json: Permission denied"):
        PLAN.save(tmp_path / "plan.json")


def test_a_file_in_the_way_of_a_folder_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        PLAN.save(tmp_path / "file" / "plan.json")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    PLAN.save(path)
    with pytest.raises(RuntimeError), written_atomically(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert BitPlan.load(path) == PLAN
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Invalid JSON"),
        ("{}", r"weight_bits: Field required"),
        ('{"weight_bits": {"a": 9}, "activation_bits": {}}', r"weight_bits\.a"),
        ('{"weight_bits": {}, "activation_bits": {}, "bits": 1}', "bits: Extra inputs"),
        ('{"schema_version": 2, "weight_bits": {}, "activation_bits": {}}', "of schema 2"),
    ],
)
def test_a_damaged_artifact_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=message):
        BitPlan.load(path)


def test_a_missing_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot read the BitPlan"):
        BitPlan.load(tmp_path / "none.json")
