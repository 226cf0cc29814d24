"""What ``import sigmaquant as sq`` offers."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types

import pytest

import sigmaquant as sq

SURFACE = {
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
}


def test_all_is_the_whole_surface() -> None:
    assert set(sq.__all__) == SURFACE
    assert set(sq.__all__) <= set(dir(sq))
    assert list(sq.__all__) == sorted(sq.__all__)


@pytest.mark.parametrize("name", sorted(SURFACE))
def test_every_name_is_there(name: str) -> None:
    value = getattr(sq, name)
    assert isinstance(value, str) or callable(value)


@pytest.mark.parametrize("name", ["search", "finetune", "export"])
def test_functions_come_before_subpackages(name: str) -> None:
    subpackage = importlib.import_module(f"sigmaquant.{name}")
    assert isinstance(subpackage, types.ModuleType)
    assert callable(getattr(sq, name))


def test_importing_does_not_load_torch() -> None:
    code = (
        "import sys, sigmaquant as sq; sq.Budget(flash='1 KiB'); sq.load_profile('cortex-m4');"
        "assert 'torch' not in sys.modules and 'onnx' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="serach"):
        sq.serach  # type: ignore[attr-defined]  # noqa: B018


def test_public_names_cannot_be_replaced() -> None:
    with pytest.raises(AttributeError, match="cannot be replaced"):
        sq.search = None  # type: ignore[assignment]
