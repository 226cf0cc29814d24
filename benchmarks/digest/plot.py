"""The headline as a picture: what each network lost against how much smaller it became.

Beside ours stand uniform 4 bits, the digest's own points, and the rivals' answers with their own
quantizers where ``benchmarks.rivals`` measured the same network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.results import BenchRow
from sigmaquant.artifact import written_atomically

DIGEST_POINTS = {
    "mobilenetv2": (3.2, 0.7),
    "efficientnet_lite0": (3.2, 0.7),
    "resnet20": (2.8, 0.4),
    "resnet56": (2.8, 0.4),
    "yolox_nano": (3.5, 0.7),
}
"""How much less memory at how many points, for the network that the digest has in its place."""
RIVALS = ("MCT", "ModelOpt, loss x1000")

_FLOAT_BITS = 32
_COLUMNS = 3
_LARGEST_LOSS = 6.0  # points; what lost more lies on the edge
_STYLES = {
    "without training": {"marker": "o", "linestyle": "-", "color": "tab:blue"},
    "weights in code": {"marker": "D", "linestyle": "-", "color": "tab:cyan"},
    "fine-tuned": {"marker": "s", "linestyle": "", "color": "tab:green"},
    "uniform 4, compensated": {"marker": "^", "linestyle": "", "color": "tab:orange"},
    "uniform 4, nearest": {"marker": "v", "linestyle": "", "color": "tab:red"},
    "digest": {"marker": "*", "linestyle": "", "color": "black"},
    "MCT": {"marker": "x", "linestyle": ":", "color": "tab:purple"},
    "ModelOpt, loss x1000": {"marker": "+", "linestyle": ":", "color": "tab:brown"},
}


@dataclass(frozen=True)
class Point:
    """A measured file, or a claim.

    Attributes:
        series: what made it.
        reduction: fp32 weight bytes over its own.
        loss: points below the fp32 network.
    """

    series: str
    reduction: float
    loss: float


def points(rows: Iterable[BenchRow], rivals: Iterable[BenchRow]) -> list[Point]:
    """All points of one network, by series and size."""
    rows = list(rows)
    found = [
        Point(_series(row.variant), row.memory_reduction, -row.against_float)
        for row in rows
        if row.memory_reduction is not None
        and row.against_float is not None
        and row.variant != "fp32"
    ]
    network = rows[0].network
    if network in DIGEST_POINTS:
        found.append(Point("digest", *DIGEST_POINTS[network]))
    for row in rivals:
        own = row.network == network and row.tool in RIVALS and row.rounding == "own"
        if own and row.draw == 0 and row.weight_bits_mean and row.against_float is not None:
            reduction = _FLOAT_BITS / row.weight_bits_mean
            found.append(Point(str(row.tool), reduction, -row.against_float))
    return sorted(found, key=lambda point: (point.series, point.reduction))


def _series(variant: str) -> str:
    if variant.startswith("uniform"):
        return variant.replace(" 4 ", " 4, ")
    if "+" in variant:
        return "fine-tuned"
    return "weights in code" if variant.endswith("coded") else "without training"


def save_plot(ours: Iterable[BenchRow], rivals: Sequence[BenchRow], path: Path) -> None:
    """Write the picture as SVG, the same for the same results.

    Args:
        ours: of all networks, in the order in which these are drawn.
        rivals: likewise.
        path: the picture.

    Raises:
        OutputError: the file cannot be written.
    """
    networks: dict[str, list[BenchRow]] = {}
    for row in ours:
        networks.setdefault(row.network, []).append(row)
    lines = -(-len(networks) // _COLUMNS)
    figure = Figure(figsize=(4 * _COLUMNS, 3 * lines), layout="constrained")
    axes = figure.subplots(lines, _COLUMNS, squeeze=False).flatten()
    for axis, (network, rows) in zip(axes, networks.items(), strict=False):
        _draw(axis, network, points(rows, rivals))
    for axis in axes[len(networks) :]:
        axis.set_axis_off()
    handles = {h.get_label(): h for axis in axes for h in axis.get_legend_handles_labels()[0]}
    figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=4)
    with mpl.rc_context({"svg.hashsalt": path.name}), written_atomically(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def _draw(axis: Axes, network: str, found: list[Point]) -> None:
    axis.set_title(network)
    axis.set_xlabel("less memory for weights (x)")
    axis.set_ylabel("points lost")
    for series, style in _STYLES.items():
        own = [point for point in found if point.series == series]
        if own:
            losses = [min(point.loss, _LARGEST_LOSS) for point in own]
            keywords: dict[str, Any] = {"label": series, **style}
            axis.plot([point.reduction for point in own], losses, **keywords)
    axis.axhline(0, color="lightgrey", linewidth=0.8)
    axis.set_ylim(top=_LARGEST_LOSS * 1.05)
