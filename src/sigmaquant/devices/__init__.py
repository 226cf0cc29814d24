"""What each device can run and what it costs there, kept as data.

A bitwidth is worth choosing only for what a device makes of it: on a microcontroller fewer bits
buy flash and hardly any time, on a shift-add accelerator they buy time and energy. So all that
the package knows of hardware is in profile files, each figure with its source and with how it is
known, and a new device is a file, not code.
"""

from sigmaquant.devices.digest import Cell, KernelCells, WidthDigest, width_digests
from sigmaquant.devices.evidence import Evidence, weakest
from sigmaquant.devices.loading import (
    available_profiles,
    available_runtimes,
    load_profile,
    load_runtime,
    on_runtime,
    profile_path,
)
from sigmaquant.devices.profile import DeviceProfile
from sigmaquant.devices.runtime import Runtime

__all__ = [
    "Cell",
    "DeviceProfile",
    "Evidence",
    "KernelCells",
    "Runtime",
    "WidthDigest",
    "available_profiles",
    "available_runtimes",
    "load_profile",
    "load_runtime",
    "on_runtime",
    "profile_path",
    "weakest",
    "width_digests",
]
