"""Find a device's profile or a runtime: one that ships with the package, or a user's own file."""

from __future__ import annotations

import difflib
from pathlib import Path

from sigmaquant.devices.profile import DeviceProfile
from sigmaquant.devices.runtime import Runtime
from sigmaquant.errors import DeviceError
from sigmaquant.toml_schema import load_toml

_SHIPPED = Path(__file__).with_name("data")
_RUNTIMES = Path(__file__).with_name("runtimes")


def available_profiles() -> tuple[str, ...]:
    """Names of the shipped profiles, sorted."""
    return _names_in(_SHIPPED)


def available_runtimes() -> tuple[str, ...]:
    """Names of the shipped runtimes, sorted."""
    return _names_in(_RUNTIMES)


def profile_path(name_or_path: str | Path) -> Path:
    """The TOML file of a shipped device, or the path itself.

    Args:
        name_or_path: a name from ``available_profiles``; what ends in ``.toml``, or is a ``Path``,
            is a file.

    Raises:
        DeviceError: no shipped device of that name.
    """
    return _path(name_or_path, _SHIPPED, "device")


def load_profile(
    name_or_path: str | Path, runtime: str | Path | Runtime | None = None
) -> DeviceProfile:
    """The profile of a shipped device, or of a TOML file.

    Args:
        name_or_path: as ``profile_path`` takes it.
        runtime: what runs there, as ``load_runtime`` takes it; by default the profile's own stack.

    Raises:
        DeviceError: no shipped device or runtime of that name, or they do not go together.
        ConfigError: a file that cannot be read or does not fit the schema.
    """
    return on_runtime(load_toml(profile_path(name_or_path), DeviceProfile), runtime)


def on_runtime(profile: DeviceProfile, runtime: str | Path | Runtime | None) -> DeviceProfile:
    """The profile with a runtime, given or by name; None leaves it as it is.

    Raises:
        DeviceError, ConfigError: see ``load_profile``.
    """
    if runtime is None:
        return profile
    chosen = runtime if isinstance(runtime, Runtime) else load_runtime(runtime)
    return profile.with_runtime(chosen)


def load_runtime(name_or_path: str | Path) -> Runtime:
    """A shipped runtime, or one from a TOML file.

    Args:
        name_or_path: a name from ``available_runtimes``; what ends in ``.toml``, or is a ``Path``,
            is a file.

    Raises:
        DeviceError: no shipped runtime of that name.
        ConfigError: a file that cannot be read or does not fit the schema.
    """
    return load_toml(_path(name_or_path, _RUNTIMES, "runtime"), Runtime)


def _names_in(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(file.stem for file in folder.glob("*.toml")))


def _path(name_or_path: str | Path, folder: Path, what: str) -> Path:
    if isinstance(name_or_path, Path) or name_or_path.endswith(".toml"):
        return Path(name_or_path)
    shipped = _names_in(folder)
    if name_or_path not in shipped:
        near = difflib.get_close_matches(name_or_path, shipped, n=1, cutoff=0.0)
        raise DeviceError(
            f"unknown {what} {name_or_path!r}; did you mean {near[0]!r}? "
            f"Shipped: {', '.join(shipped)}. The path of a TOML file works too"
        )
    return folder / f"{name_or_path}.toml"
