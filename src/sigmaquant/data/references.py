"""Objects of the user's own code, named as text: ``package.module:name`` or ``file.py:name``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from sigmaquant.errors import InputError


def is_reference(text: str) -> bool:
    """Whether the text names an object in a module rather than a file.

    >>> is_reference("my_package.data:training"), is_reference("data.py:training")
    (True, True)
    >>> is_reference("calibration.npz"), is_reference("C:/images")
    (False, False)
    """
    module, _, name = text.rpartition(":")
    dotted = all(part.isidentifier() for part in module.split("."))
    return ((dotted and len(module) > 1) or module.endswith(".py")) and bool(name)


def import_object(reference: str, error: type[InputError]) -> Any:
    """The object behind a reference; modules are also looked for in the current folder.

    Args:
        reference: ``package.module:name`` or ``path/file.py:name``; the name may have dots.
        error: what to raise, so that a model and a data source fail as what they are.

    Raises:
        error: no such module or name, or the module fails while it is imported.
    """
    module_name, _, name = reference.rpartition(":")
    if not module_name or not name:
        raise error(f"{reference!r} is not a reference; write package.module:name or file.py:name")
    found: Any = _import_module(module_name, error)
    for part in name.split("."):
        if not hasattr(found, part):
            known = ", ".join(key for key in vars(found) if not key.startswith("_")) or "nothing"
            raise error(f"{module_name} has no {part!r} (named in {reference!r}); it has {known}")
        found = getattr(found, part)
    return found


def source_file(reference: str, error: type[InputError]) -> Path | None:
    """The file of the module that a reference names; None for a module without one."""
    module = _import_module(reference.rpartition(":")[0], error)
    return Path(module.__file__) if module.__file__ else None


def _import_module(name: str, error: type[InputError]) -> ModuleType:
    """The module of that dotted name or file."""
    try:
        if name.endswith(".py"):
            return _import_file(Path(name))
        _make_importable(Path.cwd())
        return importlib.import_module(name)
    except FileNotFoundError as cause:
        raise error(f"no such file: {name}") from cause
    except ModuleNotFoundError as cause:
        if cause.name is not None and (name + ".").startswith(cause.name + "."):
            raise error(
                f"no module named {name!r}, neither installed nor in {Path.cwd()}"
            ) from cause
        raise error(f"importing {name} failed: {cause}") from cause
    except Exception as cause:
        raise error(f"importing {name} failed: {type(cause).__name__}: {cause}") from cause


def _import_file(path: Path) -> ModuleType:
    """A module from a file, imported once; its folder becomes importable, as for a script."""
    file = path.resolve(strict=True)
    name = f"{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    _make_importable(file.parent)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _make_importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
