"""SigmaQuant: every layer its own bitwidth, under the budgets of the target device.

>>> import sigmaquant as sq
>>> sq.Budget(flash="96 KiB").flash_bytes
98304

The stages are functions, in the order in which they are called: ``capture``, ``score``,
``search``, ``quantize``, ``reconstruct`` or ``finetune``, ``export``. ``optimize`` calls them.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

from sigmaquant._version import __version__

if TYPE_CHECKING:
    from sigmaquant.bitplan import BitPlan
    from sigmaquant.budget import Budget
    from sigmaquant.calibration import check_calibration
    from sigmaquant.calibration_check import CalibrationCheck
    from sigmaquant.devices import DeviceProfile, available_profiles, load_profile
    from sigmaquant.divergence import Distillation, as_values
    from sigmaquant.errors import SigmaQuantError
    from sigmaquant.finetune import finetune
    from sigmaquant.launch import launched_ranks
    from sigmaquant.layers import LayerTable
    from sigmaquant.network import Network, capture
    from sigmaquant.network.onnx import load_onnx
    from sigmaquant.pipeline import Result, optimize
    from sigmaquant.quantized import QuantizedNetwork, quantize
    from sigmaquant.reconstruction import reconstruct
    from sigmaquant.report import RunReport
    from sigmaquant.sensitivity import SensitivityTable, score
    from sigmaquant.stages import export, pareto, revise, search, solve

__all__ = [
    "BitPlan",
    "Budget",
    "CalibrationCheck",
    "DeviceProfile",
    "Distillation",
    "LayerTable",
    "Network",
    "QuantizedNetwork",
    "Result",
    "RunReport",
    "SensitivityTable",
    "SigmaQuantError",
    "__version__",
    "as_values",
    "available_profiles",
    "capture",
    "check_calibration",
    "export",
    "finetune",
    "launched_ranks",
    "load_onnx",
    "load_profile",
    "optimize",
    "pareto",
    "quantize",
    "reconstruct",
    "revise",
    "score",
    "search",
    "solve",
]

_HOMES = {
    "bitplan": ("BitPlan",),
    "budget": ("Budget",),
    "calibration": ("check_calibration",),
    "calibration_check": ("CalibrationCheck",),
    "devices": ("DeviceProfile", "available_profiles", "load_profile"),
    "divergence": ("Distillation", "as_values"),
    "errors": ("SigmaQuantError",),
    "finetune": ("finetune",),
    "launch": ("launched_ranks",),
    "layers": ("LayerTable",),
    "network": ("Network", "capture"),
    "network.onnx": ("load_onnx",),
    "pipeline": ("Result", "optimize"),
    "quantized": ("QuantizedNetwork", "quantize"),
    "reconstruction": ("reconstruct",),
    "report": ("RunReport",),
    "sensitivity": ("SensitivityTable", "score"),
    "stages": ("export", "pareto", "revise", "search", "solve"),
}
"""The module behind each public name, imported when the name is first used: torch takes seconds."""


class _Facade(types.ModuleType):
    """The package, whose functions come before subpackages of the same name.

    ``search``, ``finetune`` and ``export`` are both. Importing a subpackage sets it as an
    attribute of its parent, which would replace the function; a property is not replaced.
    """

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


def _public(module: str, name: str) -> property:
    def read(package: types.ModuleType) -> Any:
        return getattr(importlib.import_module(f"{package.__name__}.{module}"), name)

    def keep(package: types.ModuleType, value: object) -> None:
        is_subpackage = isinstance(value, types.ModuleType)
        if not is_subpackage:
            raise AttributeError(f"{package.__name__}.{name} cannot be replaced")

    return property(read, keep)


for _module, _names in _HOMES.items():
    for _name in _names:
        setattr(_Facade, _name, _public(_module, _name))
sys.modules[__name__].__class__ = _Facade
