"""Exports of several files: folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sigmaquant.errors import OutputError


@contextlib.contextmanager
def folder_written_atomically(path: str | Path, own: re.Pattern[str], what: str) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its name when the block succeeds.

    An earlier export of that name is replaced.

    Args:
        path: the folder.
        own: names of the files that an export writes, below the folder.
        what: is written, for messages.

    Raises:
        OutputError: the folder cannot be written, or holds files that no export wrote.
    """
    target = Path(path)
    _refuse_foreign(target, own, what)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as beside:
            temporary = Path(beside) / "new"
            temporary.mkdir()
            yield temporary
            if target.exists():
                target.replace(Path(beside) / "old")
            temporary.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error


def _refuse_foreign(target: Path, own: re.Pattern[str], what: str) -> None:
    """An export replaces a folder of its own, and never a user's."""
    if not target.exists():
        return
    if not target.is_dir():
        raise OutputError(f"{target} is a file; {what} needs a folder")
    files = (file.relative_to(target) for file in target.rglob("*") if not file.is_dir())
    foreign = sorted(str(file) for file in files if not own.fullmatch(file.as_posix()))
    if foreign:
        raise OutputError(
            f"{target} holds files that no export wrote, such as {foreign[0]}; "
            "name another folder, or move them"
        )
