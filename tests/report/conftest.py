"""A report such as a run on ResNet-20 writes, with plausible numbers from a seeded generator."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from sigmaquant.calibration_check import (
    CalibrationCheck,
    Finding,
    GroupClipping,
    LayerShift,
    ScoreStability,
)
from sigmaquant.layers import LayerKind
from sigmaquant.report import (
    BudgetUse,
    CloseCall,
    ComparedPlan,
    ExportedFile,
    LayerResult,
    LayerScore,
    Provenance,
    Quality,
    RunReport,
    Scoring,
    Solution,
    StageTime,
    Target,
)

CHANNELS = (16, 32, 64)
MAC_ENERGY_UJ = 2.1e-5
MACS_A_MS = 55_000
PRICE_A_BIT = 1.1e-7
"""Rise of the loss that one bit of one weight is worth; makes the sample plan a sensible one."""


def _shapes(blocks: int) -> list[tuple[str, int, int, int, int]]:
    """(name, in channels, out channels, kernel, output side) of a CIFAR ResNet's convolutions."""
    shapes = [("conv1", 3, 16, 3, 32)]
    width = 16
    for stage, channels in enumerate(CHANNELS):
        side = 32 >> stage
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            shapes.append((f"{name}.conv1", width, channels, 3, side))
            shapes.append((f"{name}.conv2", channels, channels, 3, side))
            if width != channels:
                shapes.append((f"{name}.shortcut", width, channels, 1, side))
            width = channels
    return shapes


def _scores(draw: random.Random, name: str, weights: int) -> dict[int, LayerScore]:
    """Rises that fall about fourfold a bit, with the noise of a small calibration set."""
    importance = 10 ** draw.uniform(-2.2, -1.0) * (weights / 40_000) ** 0.3
    importance *= {"conv1": 9, "fc": 6}.get(name, 1)
    scores = {}
    for bits in range(2, 9):
        rise = importance * 4.0 ** (2 - bits) * draw.uniform(0.7, 1.4)
        noise = 2e-6 + 0.06 * rise
        scores[bits] = LayerScore(rise=rise + draw.gauss(0, noise), standard_error=noise)
    return scores


def _layer(draw: random.Random, name: str, weights: int, macs: int, channels: int) -> LayerResult:
    scores = _scores(draw, name, weights)
    bits = min(scores, key=lambda width: scores[width].rise + PRICE_A_BIT * weights * width)
    return LayerResult(
        name=name,
        kind=LayerKind.LINEAR if name == "fc" else LayerKind.CONV,
        weights=weights,
        macs=macs,
        weight_bits=bits,
        activation_bits=8,
        flash_bytes=-(-weights * bits // 8) + 8 * channels,
        latency_ms=macs / MACS_A_MS * (1 + 0.04 * (8 - bits)),
        energy_uj=macs * MAC_ENERGY_UJ * (0.5 + bits / 16),
        scores=scores,
    )


def _calibration(layers: list[str]) -> CalibrationCheck:
    """Darker in use than in calibration, and scores that could be firmer."""
    return CalibrationCheck(
        calibration_samples=512,
        compared_with="deployment",
        compared_samples=2000,
        clipping=(
            GroupClipping(group="x", held_back=0.0002, deployment=0.0613, standard_error=0.001),
        ),
        shifts=tuple(
            LayerShift(layer=name, shift=0.48 / (1 + at), noise=0.02, noise_limit=0.05)
            for at, name in enumerate(layers)
        ),
        stability=ScoreStability(
            samples=384,
            rank_correlation=0.78,
            changed_weights=0.12,
            mean_weight_bits=3.4,
            samples_needed=500,
            measured=False,
        ),
        findings=(
            Finding(
                kind="shift",
                severity="warning",
                where=tuple(layers[:2]),
                value=0.48,
                unit="standard deviations",
                what="The inputs themselves differ.",
                advice="Prepare both in the same way.",
            ),
            Finding(
                kind="scores",
                severity="note",
                value=0.78,
                unit="rank correlation",
                what="The scores are unstable.",
                advice="Score with more samples: 384 -> about 500.",
            ),
        ),
    )


def make_report(blocks: int = 3, seed: int = 7) -> RunReport:
    """ResNet-(6 * blocks + 2): 22 layers for 3 blocks a stage, 202 for 33."""
    draw = random.Random(seed)
    layers = []
    for name, inputs, channels, kernel, side in _shapes(blocks):
        weights = inputs * channels * kernel**2
        layers.append(_layer(draw, name, weights, weights * side**2, channels))
    layers.append(_layer(draw, "fc", 640, 640, 10))
    weights = sum(layer.weights for layer in layers)
    flash = sum(layer.flash_bytes for layer in layers) + 1200
    flash_limit = 1.06 * flash // 1024 * 1024
    latency = sum(layer.latency_ms for layer in layers) + 6.5
    energy = sum(layer.energy_uj for layer in layers) + 40
    mean = sum(layer.weights * layer.weight_bits for layer in layers) / weights
    return RunReport(
        network=f"ResNet{6 * blocks + 2}",
        target=Target(name="cortex-m4", title="Cortex-M4 board, 80 MHz, 128 KiB RAM"),
        provenance=Provenance(
            created=datetime(2025, 11, 23, 6, 30, tzinfo=UTC),
            sigmaquant="0.1.0",
            versions={"python": "3.11.2", "torch": "2.13.0", "numpy": "2.3.5"},
            seed=seed,
            commands=("sigmaquant run resnet20.toml",),
        ),
        solution=Solution(
            strategy="greedy", status="heuristic", rise=0.0352, rise_standard_error=0.0011
        ),
        scoring=Scoring(metric="loss", loss="kl", rounding="compensated", samples=512),
        budgets=(
            BudgetUse(
                metric="flash_bytes",
                limit=flash_limit,
                used=flash,
                mark="derived",
                float_value=4 * weights + 4 * 800,
                uniform8_value=weights + 8 * 800,
            ),
            BudgetUse(
                metric="peak_ram_bytes",
                limit=65536,
                used=53248,
                mark="derived",
                float_value=212992,
                uniform8_value=53248,
            ),
            BudgetUse(
                metric="latency_ms",
                limit=1.25 * latency,
                used=latency,
                mark="emulated",
                float_value=3.4 * latency,
                uniform8_value=0.88 * latency,
            ),
            BudgetUse(
                metric="energy_uj",
                limit=None,
                used=energy,
                mark="estimated",
                uniform8_value=1.35 * energy,
            ),
        ),
        layers=tuple(layers),
        quality_loss="divergence",
        quality=(
            Quality(stage="float", metric="accuracy", value=0.9172, samples=9980),
            Quality(stage="float", metric="loss", value=0.0, samples=128),
            Quality(stage="quantized", metric="accuracy", value=0.9098, samples=9980),
            Quality(stage="quantized", metric="loss", value=0.0391, samples=128),
            Quality(stage="finetuned", metric="accuracy", value=0.9154, samples=9980),
            Quality(stage="finetuned", metric="loss", value=0.0187, samples=128),
            Quality(stage="exported", metric="accuracy", value=0.9153, samples=9980),
        ),
        compared_plans=(
            *(
                ComparedPlan(
                    origin=f"uniform {bits}",
                    weight_bits_mean=bits,
                    flash_bytes=weights * bits // 8 + 6400,
                    feasible=weights * bits // 8 + 6400 <= flash_limit,
                    loss=1.9 * 3.6 ** (2 - bits) + 0.0006,
                    accuracy=0.9172 - 0.42 * 3.9 ** (2 - bits),
                    samples=128,
                )
                for bits in range(2, 9)
            ),
            ComparedPlan(
                origin="greedy",
                weight_bits_mean=mean,
                flash_bytes=flash,
                feasible=True,
                chosen=True,
                loss=0.0391,
                accuracy=0.9098,
                samples=128,
            ),
        ),
        close_calls=(
            CloseCall(
                raised=layers[3].name,
                raised_bits=layers[3].weight_bits + 1,
                lowered=layers[2].name,
                lowered_bits=layers[2].weight_bits - 1,
                rise_difference=0.0004,
                standard_error=0.0007,
            ),
        ),
        exports=(
            ExportedFile(
                format="onnx",
                file_name="model.onnx",
                file_bytes=flash + 21_300,
                float_file_bytes=4 * weights + 19_000,
                predicted_flash_bytes=flash,
                verified=True,
                compared_values=99_800,
                differing_values=0,
                max_difference=0.0,
                latency_ratio_float=0.41,
            ),
        ),
        stage_times=(
            StageTime(stage="capture", seconds=1.2),
            StageTime(stage="calibrate", seconds=3.9),
            StageTime(stage="score", seconds=48.3),
            StageTime(stage="search", seconds=0.4),
            StageTime(stage="quantize", seconds=9.6),
            StageTime(stage="finetune", seconds=312.5),
            StageTime(stage="export", seconds=4.1),
        ),
        float_operators=("avgpool: aten.adaptive_avg_pool2d",),
        calibration=_calibration([layer.name for layer in layers]),
        warnings=("The energy figures are estimates: no budget should hang on them.",),
    )


@pytest.fixture(scope="session")
def report() -> RunReport:
    """22 layers."""
    return make_report()


@pytest.fixture(scope="session")
def minimal_report(report: RunReport) -> RunReport:
    """Nothing that is optional."""
    required = {
        name: getattr(report, name) for name in ("network", "target", "provenance", "scoring")
    }
    required["solution"] = Solution(strategy="greedy", status="heuristic")
    layer = report.layers[0].model_copy(update={"scores": {}})
    return RunReport(**required, budgets=(), layers=(layer,))


@pytest.fixture(scope="session")
def troubled_report(report: RunReport) -> RunReport:
    """A broken budget and a file that failed its verification."""
    tight = report.budgets[0].model_copy(update={"limit": 1024.0})
    wrong = report.exports[0].model_copy(
        update={"verified": False, "differing_values": 12, "max_difference": 0.25}
    )
    return report.model_copy(update={"budgets": (tight, *report.budgets[1:]), "exports": (wrong,)})


HOSTILE_NAMES = (
    "</script><script>document.documentElement.dataset.hacked = 1</script>",
    '"><img src=x onerror="document.documentElement.dataset.hacked = 1">',
    "<!--<script>",
    "[bold red]x[/bold red]",
    "\x1b[31mred\x1b[0m\r\n",
    "$data ${script} &lt;b&gt; \\u003c",
)


@pytest.fixture(scope="session")
def hostile_report(report: RunReport) -> RunReport:
    """Names that try to become markup, script, template fields or control codes."""
    layers = [
        layer.model_copy(update={"name": name})
        for layer, name in zip(report.layers, HOSTILE_NAMES, strict=False)
    ]
    text = HOSTILE_NAMES[0]
    changed = {"network": text, "layers": tuple(layers), "warnings": (text,)}
    return report.model_copy(update={**changed, "float_operators": HOSTILE_NAMES})


@pytest.fixture(scope="session")
def deep_report() -> RunReport:
    """202 layers."""
    return make_report(blocks=33)
