"""Find a device's profile: one that ships with the package, or a file of the user's own."""

from __future__ import annotations

import difflib
from pathlib import Path

from sigmaquant.devices.profile import DeviceProfile
from sigmaquant.errors import DeviceError
from sigmaquant.toml_schema import load_toml

_SHIPPED = Path(__file__).with_name("data")


def available_profiles() -> tuple[str, ...]:
    """Names of the shipped profiles, sorted."""
    return tuple(sorted(file.stem for file in _SHIPPED.glob("*.toml")))


def profile_path(name_or_path: str | Path) -> Path:
    """The TOML file of a shipped device, or the path itself.

    Args:
        name_or_path: a name from ``available_profiles``; what ends in ``.toml``, or is a ``Path``,
            is a file.

    Raises:
        DeviceError: no shipped device of that name.
    """
    if isinstance(name_or_path, Path) or name_or_path.endswith(".toml"):
        return Path(name_or_path)
    shipped = available_profiles()
    if name_or_path not in shipped:
        near = difflib.get_close_matches(name_or_path, shipped, n=1, cutoff=0.0)
        raise DeviceError(
            f"unknown device {name_or_path!r}; did you mean {near[0]!r}? "
            f"Shipped: {', '.join(shipped)}. The path of a TOML file works too"
        )
    return _SHIPPED / f"{name_or_path}.toml"


def load_profile(name_or_path: str | Path) -> DeviceProfile:
    """The profile of a shipped device, or of a TOML file.

    Args:
        name_or_path: as ``profile_path`` takes it.

    Raises:
        DeviceError: no shipped device of that name.
        ConfigError: a file that cannot be read or does not fit the schema.
    """
    return load_toml(profile_path(name_or_path), DeviceProfile)
