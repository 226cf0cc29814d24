"""One thread and one seed for everything: the same sums and the same weights in every run."""

import os
import sys

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Seed torch where it is in use; tests without it do not pay for the import."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
