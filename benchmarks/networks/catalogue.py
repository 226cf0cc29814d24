"""Every network of the benchmarks by name: its module, its weights, and how it is fed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks import assets
from benchmarks.networks.cifar_resnet import resnet20, resnet56
from benchmarks.networks.mlperf_tiny import Autoencoder, DsCnn, ResNet8
from benchmarks.networks.mobile import EfficientNetLite0, MobileNetV2, dequantized

_CIFAR_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_CIFAR_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
# Quantization of the vendor's int8 network's input.
_KEYWORD_ZERO_POINT, _KEYWORD_SCALE = 83, np.float32(0.5847029089927673)
_WINDOW_FRAMES = 5

Prepare = Callable[[npt.NDArray[Any]], torch.Tensor]


@dataclass(frozen=True)
class BenchNetwork:
    """One network.

    Attributes:
        name: as on the command line.
        build: makes the module, with random weights.
        weights: name of the weight file, without its ending.
        input_shape: of one sample.
        prepare: stored samples, as ``assets`` reads them, to (n, *input_shape) float32.
    """

    name: str
    build: Callable[[], nn.Module]
    weights: str
    input_shape: tuple[int, ...]
    prepare: Prepare


def _channels_first(images: npt.NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _cifar_normalised(images: npt.NDArray[Any]) -> torch.Tensor:
    scaled = images.astype(np.float32) / np.float32(255)
    return _channels_first((scaled - _CIFAR_MEAN) / _CIFAR_DEVIATION)


def _unscaled(images: npt.NDArray[Any]) -> torch.Tensor:
    return _channels_first(images.astype(np.float32))


def _lite0_scaled(images: npt.NDArray[Any]) -> torch.Tensor:
    return _channels_first((images.astype(np.float32) - np.float32(127)) / np.float32(128))


def _minus_one_to_one(images: npt.NDArray[Any]) -> torch.Tensor:
    return _channels_first(images.astype(np.float32) / np.float32(127.5) - np.float32(1))


def _keyword_features(features: npt.NDArray[Any]) -> torch.Tensor:
    real = (features.astype(np.float32) - _KEYWORD_ZERO_POINT) * _KEYWORD_SCALE
    return torch.from_numpy(real[:, np.newaxis])


def _sound_windows(frames: npt.NDArray[Any]) -> torch.Tensor:
    """(clips, 200, 128) frames to (clips * 196, 640): five consecutive frames a window."""
    count = frames.shape[1] - _WINDOW_FRAMES + 1
    parts = [frames[:, start : start + count] for start in range(_WINDOW_FRAMES)]
    windows = np.concatenate(parts, axis=2).astype(np.float32)
    return torch.from_numpy(windows.reshape(-1, windows.shape[2]))


_CIFAR_SHAPE, _IMAGENET_SHAPE = (3, 32, 32), (3, 224, 224)

NETWORKS = {
    network.name: network
    for network in (
        BenchNetwork("resnet20", resnet20, "cifar10_resnet20", _CIFAR_SHAPE, _cifar_normalised),
        BenchNetwork("resnet56", resnet56, "cifar10_resnet56", _CIFAR_SHAPE, _cifar_normalised),
        BenchNetwork("resnet8", ResNet8, "mlperf_tiny_ic_resnet8", _CIFAR_SHAPE, _unscaled),
        BenchNetwork("dscnn", DsCnn, "mlperf_tiny_kws_dscnn", (1, 49, 10), _keyword_features),
        BenchNetwork(
            "autoencoder", Autoencoder, "mlperf_tiny_ad_autoencoder", (640,), _sound_windows
        ),
        BenchNetwork(
            "efficientnet_lite0",
            EfficientNetLite0,
            "imagenet_efficientnet_lite0",
            _IMAGENET_SHAPE,
            _lite0_scaled,
        ),
        BenchNetwork(
            "mobilenetv2",
            MobileNetV2,
            "imagenet_mobilenetv2_1.0_w8grid",
            _IMAGENET_SHAPE,
            _minus_one_to_one,
        ),
    )
}


def load_network(name: str) -> nn.Module:
    """The trained network, in eval mode.

    Raises:
        AssetsAbsentError: the weight files are not there.
    """
    network = NETWORKS[name]
    module = network.build()
    state = dequantized(assets.weights(network.weights))
    missing, unexpected = module.load_state_dict(state, strict=False)
    # Counters of training steps are not in the files; nothing else may differ.
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    assert not missing, f"{network.weights}: no tensor for {missing}"
    assert not unexpected, f"{network.weights}: no place for {unexpected}"
    return module.eval()
