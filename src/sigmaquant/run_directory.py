"""A run's folder: every stage's result, and the record that lets a run resume.

A stage whose inputs hash to what is recorded, and whose file is still what it wrote, is read
instead of run. The file is written first and recorded after, each atomically; so a run that is
killed at any moment leaves a folder that the next one goes on from.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import pydantic

from sigmaquant._version import __version__
from sigmaquant.artifact import Artifact, Frozen
from sigmaquant.errors import ArtifactError

logger = logging.getLogger(__name__)

RECORDS_FILE = "stages.json"

T = TypeVar("T")
ArtifactT = TypeVar("ArtifactT", bound=Artifact)


class StageRecord(Frozen):
    """One finished stage.

    Attributes:
        file: what it wrote, relative to the folder.
        inputs: hash of all that the result depends on.
        content: SHA-256 of the file.
        seconds: how long the stage took when it was run.
    """

    file: str
    inputs: str
    content: str
    seconds: float


class StageRecords(Artifact):
    """The finished stages of a run, by name, in the order they were first run."""

    stages: dict[str, StageRecord] = pydantic.Field(default_factory=dict)


@dataclass(frozen=True)
class Form(Generic[T]):
    """How a stage's result is written and read back.

    Attributes:
        save: writes the result; the file appears whole or not at all.
        load: reads what ``save`` wrote.
    """

    save: Callable[[T, Path], None]
    load: Callable[[Path], T]


def artifact_form(kind: type[ArtifactT]) -> Form[ArtifactT]:
    """The form of a JSON artifact."""
    return Form(save=kind.save, load=kind.load)


class RunDirectory:
    """The folder of one run; makes it, so that an unwritable place is found before any work.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._records = self._read_records()
        self._records.save(self.folder / RECORDS_FILE)

    def stage(
        self,
        name: str,
        file: str,
        *,
        inputs: Sequence[object],
        make: Callable[[], T],
        form: Form[T],
    ) -> T:
        """The stage's result: read, where it is there already; else made, saved and recorded.

        Args:
            name: of the stage.
            file: what it writes, relative to the folder.
            inputs: all that the result depends on, as plain values; for an earlier stage its
                ``content``.
            make: runs the stage.
            form: how the result is saved.
        """
        path = self.folder / file
        key = fingerprint(name, *inputs)
        if self._is_done(name, file, key):
            logger.info("%s: unchanged, read from %s", name, path)
            return form.load(path)
        logger.info("%s ...", name)
        started = time.perf_counter()
        result = make()
        form.save(result, path)
        seconds = time.perf_counter() - started
        logger.info("%s: done in %.1f s", name, seconds)
        self._record(
            name, StageRecord(file=file, inputs=key, content=_sha256(path), seconds=seconds)
        )
        return result

    def content(self, name: str) -> str:
        """Hash of what a finished stage wrote; KeyError before it has run."""
        return self._records.stages[name].content

    @property
    def seconds(self) -> dict[str, float]:
        """How long each stage took when it was run, by name."""
        return {name: record.seconds for name, record in self._records.stages.items()}

    def _is_done(self, name: str, file: str, key: str) -> bool:
        record = self._records.stages.get(name)
        path = self.folder / file
        return (
            record is not None
            and (record.file, record.inputs) == (file, key)
            and path.is_file()
            and record.content == _sha256(path)
        )

    def _record(self, name: str, record: StageRecord) -> None:
        self._records = StageRecords(stages={**self._records.stages, name: record})
        self._records.save(self.folder / RECORDS_FILE)

    def _read_records(self) -> StageRecords:
        path = self.folder / RECORDS_FILE
        if not path.is_file():
            return StageRecords()
        try:
            return StageRecords.load(path)
        except ArtifactError as error:
            logger.warning("%s; all stages run again", error)
            return StageRecords()


def fingerprint(*values: object) -> str:
    """SHA-256 of plain values and of this package's version.

    >>> fingerprint("score", 1) == fingerprint("score", 1)
    True
    >>> fingerprint("score", 1) == fingerprint("score", 2)
    False
    """
    text = json.dumps([__version__, *values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
