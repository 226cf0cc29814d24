"""The tutorials, run as a reader would: every block but those that install."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
_BLOCK = re.compile(r"^```(?P<language>python|sh)\n(?P<code>.*?)^```$", re.M | re.S)


def _script(page: str) -> str:
    """One program of all blocks in order; commands run in a shell."""
    parts = ["import subprocess"]
    for block in _BLOCK.finditer(page):
        code = block["code"]
        if block["language"] == "python":
            parts.append(code)
        elif not code.startswith("pip install"):
            parts.append(f"subprocess.run(['bash', '-euc', {code!r}], check=True)")
    return "\n".join(parts)


@pytest.mark.parametrize("name", ["TUTORIAL_KERAS", "TUTORIAL_ONNX", "TUTORIAL_PYTORCH"])
def test_a_tutorial_runs_as_it_stands(name: str, tmp_path: Path) -> None:
    script = tmp_path / "tutorial.py"
    script.write_text(_script((DOCS / f"{name}.md").read_text(encoding="utf-8")))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    ended = subprocess.run(
        [sys.executable, script.name],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert "accuracy in" in ended.stdout
