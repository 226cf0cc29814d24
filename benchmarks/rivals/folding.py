"""Weights of the trained networks, BatchNorm folded, under the names of ``workers.networks``."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Fold(NamedTuple):
    """One layer of the plain network and where its parameters come from.

    Attributes:
        layer: in the plain network.
        source: the trained module's layer.
        norm: the BatchNorm behind it, if any.
    """

    layer: str
    source: str
    norm: str | None = None


def _digits() -> tuple[Fold, ...]:
    folds = [Fold("stem", "stem.0", "stem.1"), Fold("linear", "classifier")]
    for block in ("block1", "block2", "block3"):
        folds += (Fold(f"{block}_conv{i}", f"{block}.conv{i}", f"{block}.bn{i}") for i in (1, 2))
        if block != "block1":
            folds.append(Fold(f"{block}_shortcut", f"{block}.shortcut.0", f"{block}.shortcut.1"))
    return tuple(folds)


def _resnet20() -> tuple[Fold, ...]:
    folds = [Fold("stem", "conv1", "bn1"), Fold("linear", "linear")]
    for stage in ("layer1", "layer2", "layer3"):
        for block in range(3):
            folds += (
                Fold(
                    f"{stage}_{block}_conv{i}", f"{stage}.{block}.conv{i}", f"{stage}.{block}.bn{i}"
                )
                for i in (1, 2)
            )
    return tuple(folds)


def _dscnn() -> tuple[Fold, ...]:
    folds = [Fold("stem", "conv0", "bn0"), Fold("linear", "fc")]
    for pair in range(4):
        folds.append(Fold(f"depthwise{pair}", f"dw{pair}", f"bn{2 * pair + 1}"))
        folds.append(Fold(f"pointwise{pair}", f"conv{pair + 1}", f"bn{2 * pair + 2}"))
    return tuple(folds)


FOLDS: dict[str, tuple[Fold, ...]] = {
    "digits": _digits(),
    "resnet8": (
        Fold("stem", "conv0", "bn0"),
        Fold("block1_conv1", "conv1", "bn1"),
        Fold("block1_conv2", "conv2", "bn2"),
        Fold("block2_conv1", "conv3", "bn3"),
        Fold("block2_conv2", "conv4", "bn4"),
        Fold("block2_shortcut", "conv5"),
        Fold("block3_conv1", "conv6", "bn5"),
        Fold("block3_conv2", "conv7", "bn6"),
        Fold("block3_shortcut", "conv8"),
        Fold("linear", "fc"),
    ),
    "resnet20": _resnet20(),
    "dscnn": _dscnn(),
}
"""Every layer of every network."""


def folded_state(name: str, trained: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters for the plain network of that name, from the trained module in eval mode."""
    state: dict[str, torch.Tensor] = {}
    for fold in FOLDS[name]:
        layer = trained.get_submodule(fold.source)
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        if fold.norm is not None:
            norm = trained.get_submodule(fold.norm)
            assert isinstance(layer, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            layer = fuse_conv_bn_eval(layer, norm)
        assert layer.bias is not None
        state[f"{fold.layer}.weight"] = layer.weight.detach().contiguous()
        state[f"{fold.layer}.bias"] = layer.bias.detach().contiguous()
    return state
