"""The demo, with less training than it has by default."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("sklearn", reason="the demo needs scikit-learn")

from sigmaquant import demo_network
from sigmaquant.demo import BUDGET, Demo, run_demo
from sigmaquant.demo_network import load_digits


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(demo_network, "EPOCHS", 3)
        return run_demo(tmp_path_factory.mktemp("demo"), epochs=1)


def test_no_uniform_width_is_an_answer(demo: Demo) -> None:
    rows = {row.name: row for row in demo.rows}
    assert list(rows) == ["float", "uniform 8", "uniform 4", "uniform 3", "uniform 2", "mixed"]
    assert rows["uniform 4"].broken == ("flash_bytes",)
    assert rows["uniform 3"].broken == ("latency_ms",)
    assert rows["mixed"].broken == ()
    assert rows["mixed"].loss < rows["uniform 2"].loss


def test_the_numbers_are_the_reports(demo: Demo) -> None:
    mixed = demo.rows[-1]
    assert mixed.totals is not None
    assert all(mixed.totals[metric] <= limit for metric, limit in BUDGET.limits().items())
    accuracy = demo.result.report.quality_at("exported", "accuracy")
    assert accuracy is not None
    assert mixed.accuracy == accuracy.value > 0.9
    assert mixed.file_bytes == (demo.folder / "model.onnx").stat().st_size
    assert (demo.folder / "report.html").exists()


def test_digits_are_split_without_overlap() -> None:
    first, again, other = load_digits(0), load_digits(0), load_digits(1)
    parts = (first.training, first.calibration, first.test)
    assert [len(part) for part in parts] == [997, 300, 500]
    images = torch.cat([part.tensors[0] for part in parts])
    assert images.shape == (1797, 1, 16, 16)
    assert len(images.unique(dim=0)) == 1797
    assert torch.equal(first.test.tensors[0], again.test.tensors[0])
    assert not torch.equal(first.test.tensors[0], other.test.tensors[0])
    assert -1 <= images.min() <= images.max() <= 1
