"""Reads weights that an ONNX file keeps beside itself, and nothing else on the disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

from sigmaquant.errors import ModelError


def read_external(entries: Mapping[str, str], folder: Path, size: int, what: str) -> bytes:
    """The bytes of one tensor.

    Args:
        entries: ``location``, and ``offset`` where it is not 0, and ``length``, as in the file.
        folder: of the ONNX file; locations are relative to it and stay within it.
        size: of the tensor in bytes, from its shape and type.
        what: for messages.

    Raises:
        ModelError: the location leaves the folder or passes through a link, is not a plain file,
            or does not hold so many bytes.
    """
    path = _inside(entries.get("location", ""), folder, what)
    offset = _number(entries.get("offset", "0"), f"{what}: offset")
    length = _number(entries.get("length", str(size)), f"{what}: length")
    if length != size:
        raise ModelError(f"{what} needs {size} bytes, but the file says {length}")
    try:
        return _read(path, offset, size, what)
    except OSError as error:
        reason = error.strerror or error
        raise ModelError(f"{what}: cannot read its data in {path}: {reason}") from error


def _inside(location: str, folder: Path, what: str) -> Path:
    """The path of a location, refused unless it is a plain way down from the folder."""
    parts = PurePosixPath(location).parts
    absolute = PurePosixPath(location).is_absolute() or bool(PureWindowsPath(location).anchor)
    if not parts or absolute or ".." in parts or "\\" in location or "\0" in location:
        raise ModelError(
            f"{what}: its data are at {location!r}; only files in the model's own folder are read"
        )
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise ModelError(f"{what}: its data are behind the link {path}, which is not followed")
    return path


def _read(path: Path, offset: int, size: int, what: str) -> bytes:
    # No link is followed and no pipe waited for, even where one appears after the checks above.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{what}: {path} is not a file")
        if offset + size > status.st_size:
            raise ModelError(
                f"{what} needs bytes {offset} to {offset + size} of {path}, which has only "
                f"{status.st_size}; copy the whole file beside the model"
            )
        file.seek(offset)
        return file.read(size)


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ModelError(f"{what} is {text[:40]!r}, not a number")
    return int(text)
