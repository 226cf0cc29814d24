"""A run's folder: every stage's result, and the record that lets a run resume.

A stage whose inputs hash to what is recorded, and whose file is still what it wrote, is read
instead of run. The file is written first and recorded after, each atomically; so a run that is
killed at any moment leaves a folder that the next one goes on from.

Of several processes the main one alone writes; the others wait, and read from the same folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import pydantic

from sigmaquant._version import __version__
from sigmaquant.artifact import Artifact, Frozen, written_atomically
from sigmaquant.errors import ArtifactError, OutputError
from sigmaquant.ranks import SINGLE, Ranks, on_each

logger = logging.getLogger(__name__)

RECORDS_FILE = "stages.json"

T = TypeVar("T")
ArtifactT = TypeVar("ArtifactT", bound=Artifact)
FrozenT = TypeVar("FrozenT", bound=Frozen)


class StageRecord(Frozen):
    """One finished stage.

    Attributes:
        inputs: hash of all that the result depends on.
        files: SHA-256 of each file it wrote, by name relative to the folder.
        seconds: how long the stage took when it was run.
    """

    inputs: str
    files: dict[str, str]
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


def record_form(kind: type[FrozenT]) -> Form[FrozenT]:
    """The form of a record that is no artifact by itself; it lives and dies with its stage."""

    def save(record: FrozenT, path: Path) -> None:
        with written_atomically(path) as temporary:
            temporary.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")

    return Form(save=save, load=lambda path: kind.model_validate_json(path.read_bytes()))


class RunDirectory:
    """The folder of one run; makes it, so that an unwritable place is found before any work.

    Args:
        folder: where it is.
        ranks: the processes that make the run together, and which all see the folder.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, ranks: Ranks = SINGLE) -> None:
        self.folder = Path(folder)
        self.ranks = ranks
        self._asked: list[str] = []
        self._records = ranks.from_main(self._opened)

    def stage(
        self,
        name: str,
        file: str,
        *,
        inputs: Sequence[object],
        make: Callable[[], T],
        form: Form[T],
        also: Sequence[str] = (),
        shared: bool = False,
    ) -> T:
        """The stage's result: read, where it is there already; else made, saved and recorded.

        Args:
            name: of the stage.
            file: what ``form`` writes, relative to the folder.
            inputs: all that the result depends on, as plain values; for an earlier stage its
                ``content``.
            make: runs the stage.
            form: how the result is saved.
            also: further files, which ``make`` writes.
            shared: all processes run ``make`` and share its work; else the main one runs it alone.

        Raises:
            OutputError: the files cannot be written, or are not what another process reads.
        """
        path, files = self.path(file), (file, *also)
        key = fingerprint(name, *inputs)
        self._asked.append(name)
        if self.ranks.from_main(lambda: self._is_done(name, key, files)):
            logger.info("%s: unchanged, read from %s", name, path)
            return on_each(self.ranks, lambda: self._read(name, file, form))
        logger.info("%s ...", name)
        started = time.perf_counter()
        made = [make()] if shared else []

        def write() -> StageRecord:
            if not made:
                made.append(make())
            form.save(made[0], path)
            written = {file: _sha256(self.folder / file) for file in files}
            return StageRecord(inputs=key, files=written, seconds=time.perf_counter() - started)

        record = self.ranks.from_main(write)
        self._record(name, record)
        logger.info("%s: done in %.1f s", name, record.seconds)
        main = self.ranks.index == 0
        return on_each(self.ranks, lambda: made[0] if main else self._read(name, file, form))

    def path(self, file: str) -> Path:
        """A file in the folder."""
        return self.folder / file

    def content(self, name: str) -> str:
        """Hash of what a finished stage wrote; KeyError before it has run."""
        return fingerprint(*self._records.stages[name].files.values())

    @property
    def seconds(self) -> dict[str, float]:
        """How long each stage asked for so far took when it was run, by name."""
        stages = self._records.stages
        return {name: stages[name].seconds for name in self._asked}

    def _read(self, name: str, file: str, form: Form[T]) -> T:
        """What the main process has written, which the others may have to find first."""
        record = self._records.stages[name]
        if self.ranks.index > 0 and not self._is_done(name, record.inputs, record.files):
            raise OutputError(
                f"process {self.ranks.index} does not find in {self.folder.absolute()} what "
                "process 0 has written there; give a folder that all machines share"
            )
        return form.load(self.path(file))

    def _is_done(self, name: str, key: str, files: Collection[str]) -> bool:
        record = self._records.stages.get(name)
        if record is None or record.inputs != key or record.files.keys() != set(files):
            return False
        paths = {self.folder / file: content for file, content in record.files.items()}
        return all(path.exists() and _sha256(path) == found for path, found in paths.items())

    def _record(self, name: str, record: StageRecord) -> None:
        self._records = StageRecords(stages={**self._records.stages, name: record})
        self.ranks.from_main(lambda: self._records.save(self.folder / RECORDS_FILE))

    def _opened(self) -> StageRecords:
        records = self._read_records()
        records.save(self.folder / RECORDS_FILE)
        return records

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
    """Hash of a file's content, or of a folder's names and contents."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return fingerprint(*((str(file.relative_to(path)), _sha256(file)) for file in files))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
