"""``sigma``: what rounding does to the weights alone, without data (the idea of arXiv 2602.22136).

**Deviation.** A layer of gain g passes on the rounding errors of its weights in proportion to g,
its outputs' deviation over that of its inputs. For independent weights of standard deviation s
that is s times the square root of the fan-in (He et al. 2015, eq. 10). So the deviation is taken
times that root: s by itself falls with the fan-in from the initialisation on, and would rank the
layers by their shape.

**Normalised KL.** Histograms of the float and the rounded weights over 64 bins, each output channel
in units of its own largest magnitude, as each has its own scale; what rounding carries beyond falls
into the outermost bins. A share of 1e-4 is added to each bin, so that the divergence
KL(float || rounded) in nats is finite where rounding has emptied a bin. It is divided by the
entropy of the float histogram, so that layers of few weights, whose histograms are coarse, compare
with others. Bins, share and normaliser are ours: the published digest names none.

Without data nothing tells what a layer means to the output. On ResNet-20 these scores order the
widths as the measured loss does (rank correlation over all layers and widths 0.91), but at one
width hardly the layers (0.35 at 2 bits, -0.39 at 4).
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from sigmaquant.layers import WIDTHS
from sigmaquant.network import Network
from sigmaquant.quantizers import level_bounds, nearest_levels, weight_scales
from sigmaquant.quantizers.affine import SMALLEST_SCALE
from sigmaquant.scores import Score, SensitivityTable
from sigmaquant.sensitivity.candidates import layer_weight

_BINS = 64
_ADDED_SHARE = 1e-4


def sigma_scores(network: Network) -> SensitivityTable:
    """The normalised KL of every layer and width, for weights rounded to nearest.

    The scores are exact, without standard errors: no sample is drawn.
    """
    weights = _weights(network)
    scores = {
        layer: {
            bits: Score(rise=divergence) for bits, divergence in histogram_divergences(w).items()
        }
        for layer, w in weights.items()
    }
    return SensitivityTable(
        metric="sigma",
        loss="weight histogram KL",
        rounding="nearest",
        float_loss=0.0,
        samples=0,
        seed=0,
        inputs=hashlib.sha256(f"sigma\n{network.digest()}".encode()).hexdigest(),
        scores=scores,
        weight_sigmas=weight_sigmas(network),
    )


def weight_sigmas(network: Network) -> dict[str, float]:
    """By layer, the standard deviation of its weights times the square root of its fan-in."""
    return {
        layer: float(weight.std(correction=0)) * weight[0].numel() ** 0.5
        for layer, weight in _weights(network).items()
    }


def histogram_divergences(weight: Tensor) -> dict[int, float]:
    """By width, the normalised KL from the float to the rounded weights.

    Args:
        weight: (out, ...).
    """
    rows = weight.flatten(1)
    largest = rows.abs().amax(1, keepdim=True).clamp_min(SMALLEST_SCALE)
    exact = _histogram(rows / largest)
    entropy = -(exact * exact.log()).sum()
    found = {}
    for bits in WIDTHS:
        scales = weight_scales(rows, bits)
        rounded = _histogram(nearest_levels(rows, scales, *level_bounds(bits)) * scales / largest)
        found[bits] = float((exact * (exact / rounded).log()).sum() / entropy)
    return found


def _histogram(values: Tensor) -> Tensor:
    """Shares of the bins from -1 to 1, none zero: (bins,) float64."""
    counts = torch.histc(values.clamp(-1, 1), _BINS, -1, 1).double()
    shares = counts / counts.sum() + _ADDED_SHARE
    return shares / shares.sum()


def _weights(network: Network) -> dict[str, Tensor]:
    nodes = network.layer_nodes()
    return {layer: layer_weight(network, calls[0]).detach() for layer, calls in nodes.items()}
