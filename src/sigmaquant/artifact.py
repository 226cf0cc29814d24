"""The base of everything that one stage hands to the next: frozen, versioned, saved as JSON."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Self

import pydantic

from sigmaquant.errors import ArtifactError, OutputError


class Frozen(pydantic.BaseModel):
    """An immutable record whose unknown fields are errors."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Artifact(Frozen):
    """A stage's result on disk: JSON with its own ``schema_version``.

    Subclasses set ``SCHEMA`` and raise it when a field changes its meaning.
    """

    SCHEMA: ClassVar[int] = 1
    schema_version: int = 1

    def save(self, path: str | Path) -> None:
        """Write the artifact; the file appears whole or not at all.

        Raises:
            OutputError: the folder cannot be written.
        """
        with written_atomically(path) as temporary:
            temporary.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read an artifact back.

        Raises:
            ArtifactError: missing, damaged, or of another schema version.
        """
        try:
            artifact = cls.model_validate_json(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ArtifactError(f"{path}: cannot read the {cls.__name__}: {reason}") from error
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ArtifactError(
                f"{path} is not a {cls.__name__}: {where}: {first['msg']}"
            ) from error
        if artifact.schema_version != cls.SCHEMA:
            raise ArtifactError(
                f"{path}: {cls.__name__} of schema {artifact.schema_version}, this version "
                f"reads schema {cls.SCHEMA}; run the stage again"
            )
        return artifact

    def digest(self) -> str:
        """SHA-256 of the content, to recognise the same inputs when a run resumes."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


@contextlib.contextmanager
def written_atomically(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its name when the block succeeds.

    Raises:
        OutputError: the folder does not exist and cannot be made, or cannot be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
