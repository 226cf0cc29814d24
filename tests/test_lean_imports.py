from __future__ import annotations

import subprocess
import sys

import pytest

LEAN = (
    "layers",
    "bitplan",
    "budget",
    "calibration_check",
    "toml_schema",
    "devices",
    "costs",
    "search",
    "report",
)


@pytest.mark.parametrize("package", LEAN)
def test_the_package_imports_without_torch_and_onnx(package):
    program = (
        f"import sys, sigmaquant.{package}\n"
        "print(*sorted({'torch', 'onnx', 'onnxruntime'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == ""
