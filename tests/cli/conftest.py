"""A user's project folder, and the command run in it."""

from __future__ import annotations

import functools
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

NETS = """
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 10, 3, 2, padding=1)
        self.classifier = nn.Linear(160, 5)

    def forward(self, x):
        features = self.conv2(self.bn1(self.conv1(x)).relu()).relu()
        return self.classifier(features.flatten(1))

class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        if x.sum() > 0:
            return self.layer(x)
        return x

def diverged():
    net = Tiny()
    nn.init.constant_(net.conv2.weight, float("nan"))
    return net
"""

CONFIG = """
[model]
factory = "nets.py:Tiny"

[data]
calibration = "calibration.npz"
training = "training.npz"
evaluation = "evaluation.npz"
batch_size = 16

[target]
device = "cortex-m4"
flash = "1000 B"

[finetune]
epochs = 1

[run]
out = "out"
"""

SCRIPT = Path(sys.executable).with_name("sigmaquant")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


@dataclass(frozen=True)
class Ended:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


class Installed:
    """The installed command, in a process of its own."""

    def run(self, *arguments: str, folder: Path) -> Ended:
        """Run it to its end."""
        ended = subprocess.run(
            [str(SCRIPT), *arguments],
            cwd=folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def start(self, *arguments: str, folder: Path) -> subprocess.Popen[str]:
        """Start it, with its logs in ``stderr``; it takes control-C even where the tests do not."""
        return subprocess.Popen(
            [str(SCRIPT), *arguments],
            cwd=folder,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell's background jobs, and so tests run as one, hand on an ignored SIGINT.
            preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )


@pytest.fixture(scope="session")
def installed() -> Installed:
    return Installed()


@pytest.fixture(scope="session")
def finished_project(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which a run has ended; not to be changed."""
    folder = tmp_path_factory.mktemp("finished_project")
    write_project(folder)
    ended = installed.run("run", "run.toml", folder=folder)
    assert ended.code == 0, ended.err
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder, which is the current one; what is imported from it is forgotten."""
    write_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def write_project(folder: Path) -> None:
    """Code, data and settings, as a user would have them."""
    import torch

    (folder / "nets.py").write_text(NETS)
    (folder / "run.toml").write_text(CONFIG)
    namespace: dict[str, type[torch.nn.Module]] = {}
    exec(NETS, namespace)
    model = namespace["Tiny"]().eval()
    random = np.random.default_rng(0)
    for name, count in (("calibration", 48), ("training", 64), ("evaluation", 600)):
        images = random.standard_normal((count, 1, 8, 8)).astype(np.float32)
        with torch.no_grad():
            best = model(torch.from_numpy(images)).topk(2, dim=1)
        # The hardest hundred are those whose class any change of the network may turn.
        kept = (best.values[:, 0] - best.values[:, 1]).argsort()[:100].numpy()
        np.savez(folder / f"{name}.npz", x=images[kept], y=best.indices[kept, 0].numpy())


class Command(Protocol):
    """Runs a command in this process."""

    def __call__(self, *arguments: str) -> Ended: ...


@pytest.fixture
def sigmaquant(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Command]:
    """The command, run in this process: quick, where the installed script is not the point."""
    from sigmaquant.cli.main import main

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["sigmaquant", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    yield run
    logger = logging.getLogger("sigmaquant")
    logger.handlers, logger.level = [], logging.NOTSET
