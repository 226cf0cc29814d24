"""Damping of weights that oscillate between two levels (Nagel et al. 2022, section 4.1).

Under straight-through gradients a weight near the border of two levels is pushed across it and
back, step after step, and training never settles. The regularizer of Nagel et al. (eq. 6), the
squared distance to the middle of the level, keeps weights off the borders; it grows on a cosine, so
that weights move freely at first.
"""

from __future__ import annotations

import math

import torch

from sigmaquant.quantized import QuantizedNetwork


def dampen(student: QuantizedNetwork, damping: float, done: float) -> None:
    """Move every weight a part of the way to the middle of its level; no level changes.

    That is a step down the regularizer's gradient on its own, as AdamW decays weights, so that Adam
    does not take its size away. Weights beyond the outermost level move to that one.

    Args:
        student: the network in training.
        damping: the part at the end of training, 0 to 1.
        done: the part of training that is behind, 0 to 1.
    """
    part = damping * 0.5 * (1 - math.cos(math.pi * done))
    with torch.no_grad():
        for layer in student.network.layer_nodes():
            weight, quantizer = student.weight(layer), student.weight_quantizer(layer)
            weight.lerp_(quantizer.levels(weight) * quantizer.safe_scale(), part)
