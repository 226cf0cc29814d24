"""Write a fitted profile: the file it started from, word for word, with a name and its factors."""

from __future__ import annotations

import json
import re
from pathlib import Path

from sigmaquant.artifact import written_atomically
from sigmaquant.devices.loading import load_profile
from sigmaquant.devices.profile import Calibration
from sigmaquant.errors import DeviceError

_NAME_LINE = re.compile(r"^name[ \t]*=.*$", re.M)


def write_fitted(origin: Path, name: str, calibration: Calibration, path: Path) -> None:
    """Write ``origin`` under another name and with a calibration; the file appears whole.

    Raises:
        DeviceError: the path is the origin itself, or no line of the origin gives its name.
        OutputError: the folder cannot be written.
    """
    if path.exists() and path.samefile(origin):
        raise DeviceError(f"{path} is the profile that the fit starts from: name another file")
    text, replaced = _NAME_LINE.subn(lambda _: f"name = {_quoted(name)}", origin.read_text("utf-8"))
    if replaced != 1:
        raise DeviceError(f"{origin}: its name has to stand on one line of its own, name = ...")
    with written_atomically(path) as temporary:
        temporary.write_text(f"{text.rstrip()}\n\n{_table(calibration)}", encoding="utf-8")
        written = load_profile(temporary)
        assert (written.name, written.calibration) == (name, calibration), "not what was fitted"


def _table(calibration: Calibration) -> str:
    scales = ", ".join(f"{kind} = {scale!r}" for kind, scale in calibration.latency_scale.items())
    lines = [
        "[calibration]  # factors on the figures above, by `sigmaquant devices fit`",
        f"latency_scale = {{ {scales} }}",
        f"other_latency_scale = {calibration.other_latency_scale!r}",
        f"energy_scale = {calibration.energy_scale!r}",
        f"measurements = {calibration.measurements}",
    ]
    if calibration.left_out_percent is not None:
        lines.append(f"left_out_percent = {calibration.left_out_percent!r}")
    lines += [f"source = {_quoted(calibration.source)}", f'kind = "{calibration.kind}"']
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A basic string of TOML, which escapes as JSON does."""
    return json.dumps(text, ensure_ascii=False)
