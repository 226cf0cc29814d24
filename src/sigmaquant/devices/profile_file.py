"""Write a profile as a TOML file, such as one that was measured or emulated."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sigmaquant.artifact import written_atomically
from sigmaquant.devices.loading import load_profile
from sigmaquant.devices.profile import DeviceProfile


def write_profile(profile: DeviceProfile, path: str | Path) -> None:
    """Write a profile; the file appears whole or not at all. What has its default is left out.

    Raises:
        OutputError: the folder cannot be written.
    """
    content = profile.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    with written_atomically(path) as temporary:
        temporary.write_text("\n".join(_table(content)).strip() + "\n", encoding="utf-8")
        assert load_profile(temporary) == profile, "not what was to be written"


def _table(content: Mapping[str, Any], *place: str) -> Iterator[str]:
    """The lines of a table: its own figures, then the tables in it."""
    inner = {key: value for key, value in content.items() if _is_table(value)}
    own = {key: value for key, value in content.items() if key not in inner}
    if own and place:
        yield ""
        yield f"[{'.'.join(place)}]"
    for key, value in own.items():
        yield f"{key} = {_value(value)}"
    for key, value in inner.items():
        yield from _table(value, *place, key)


def _is_table(value: Any) -> bool:
    """Figures by width stand on one line; everything else that has keys is a table."""
    return isinstance(value, Mapping) and not all(key.isdigit() for key in value)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_value(each)}' for key, each in value.items())} }}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_value, value))}]"
    # Text, numbers and truth are spelled as in JSON.
    return json.dumps(value, ensure_ascii=False)
