"""What the headline table measures: networks, their samples, and what their outputs are worth."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn.metrics
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import assets
from benchmarks.cifar_training import training_loader
from benchmarks.deployment.subjects import (
    VendorFile,
    keyword_split,
    vendor_path,
)
from benchmarks.detection import average_precision, detected, prepared
from benchmarks.digest.augmentation import (
    EqualisedWindows,
    equalised,
    other_views,
    reused_loader,
)
from benchmarks.digest.detector import joined_arrays, load_detector_heads, seen_by_heads
from benchmarks.networks import NETWORKS, load_network
from sigmaquant.calibration import Batch
from sigmaquant.divergence import Distillation, UserLoss, as_values

Float32Array = npt.NDArray[np.float32]

TOP1, AP, AUC = "top1_percent", "ap_percent", "auc_percent"

YOLOX, YOLOX_FILE, YOLOX_SIDE = "yolox_nano", "yolox_nano_coco_416", 416
SOUND_CALIBRATION = 40
"""Of ad01's normal clips; the other 100 test, with the 108 anomalous ones."""

_SOUND_BANDS = 128
_EQUALISED = 3  # copies of each calibrating window
_SOUND_RATE = 0.0003

_WIDE_STEM = ("Conv_41", "Conv_44")
"""YOLOX-Nano's first two convolutions. Some channels between them reach from -95 to 103.

With 8-bit activations and float weights, what 50 of the even images show agrees with the float
network's own detections to an average precision of 52 %, with these values in float to 92 %.
"""

_CIFAR_CALIBRATION = 500  # first training images
_CIFAR_BATCH = 128
_FEW_BATCH = 25
_PASSES = 10  # over few keywords, an epoch
# MobileNetV2 at 1/7.5 on 200 of its images, divergence on the other 100: .078 became .069 in 160
# steps at 0.0001, .088 at 0.001.
_FEW_RATE = 0.0001
_GRAPH_BYTES = 7_168
"""Of half a vendor's file, left to what an ONNX file holds besides weights, scales and biases."""


@dataclass(frozen=True)
class Test:
    """What is measured on an exported file.

    Attributes:
        inputs: (n, *input_shape).
        metric: name with its unit; more is better.
        worth: from the output on all inputs to the metric.
        batch: samples a run of the runtime.
        verified: so many samples are compared bit for bit with the integer reference.
        output: of one run, out of all that the network returns.
    """

    __test__ = False  # not a class of tests

    inputs: Float32Array
    metric: str
    worth: Callable[[Float32Array], float]
    batch: int
    verified: int = 8
    output: Callable[[Sequence[Float32Array]], Float32Array] = itemgetter(0)


@dataclass(frozen=True)
class Training:
    """How a network is fine-tuned.

    Attributes:
        loader: makes the batches of an epoch.
        epochs: passes over the loader.
        learning_rate: see ``finetune``.
        held_back: judge each epoch; None for the calibration samples.
    """

    loader: Callable[[], Iterable[Any]]
    epochs: int
    held_back: tuple[Batch, ...] | None = None
    learning_rate: float = 0.001


@dataclass(frozen=True)
class Subject:
    """A row of the digest's table: a network with its data.

    Attributes:
        name: of the network.
        module: the float network, in eval mode.
        input_shape: of one sample.
        calibration: to score and round with.
        test: to report on.
        training: how it is fine-tuned.
        reductions: of the fp32 weights' bytes; each is a plan.
        trained: those that are fine-tuned too.
        vendor: the makers' int8 file, if there is one.
        loss: for scores and training; None for the divergence of the outputs.
        metric: that scores the layers.
        float_layers: stay float.
        mirrored: whether the inputs are images that mean the same in a mirror; see ``quantize``.
    """

    name: str
    module: nn.Module
    input_shape: tuple[int, ...]
    calibration: tuple[Batch, ...]
    test: Test
    training: Training
    reductions: tuple[float, ...]
    trained: tuple[float, ...]
    vendor: VendorFile | None = None
    loss: UserLoss | None = None
    metric: str = "taylor"
    float_layers: tuple[str, ...] = ()
    mirrored: bool = False


def _cifar(
    name: str, reductions: tuple[float, ...], trained: tuple[float, ...], images: int
) -> Subject:
    """Training images in their order: 500 calibrate, ``images`` train, 500 judge the epochs."""
    prepare, test = NETWORKS[name].prepare, assets.cifar10("test")
    known = assets.cifar10("train", 2 * _CIFAR_CALIBRATION + images)
    rest = known.without_first(_CIFAR_CALIBRATION)
    return Subject(
        name,
        load_network(name),
        NETWORKS[name].input_shape,
        _batches(prepare(known.images[:_CIFAR_CALIBRATION]), 100),
        Test(prepare(test.images).numpy(), TOP1, _top1_percent(test.labels), batch=500),
        Training(
            lambda: training_loader(rest.first(images), prepare, _CIFAR_BATCH),
            epochs=5,
            held_back=_batches(prepare(rest.without_first(images).images), 100),
        ),
        reductions,
        trained,
    )


def _resnet56() -> Subject:
    return _cifar("resnet56", (8, 10, 12), (12,), images=10_000)


def _resnet20() -> Subject:
    return _cifar("resnet20", (8, 10, 12), (10,), images=10_000)


def _resnet8() -> Subject:
    """At half the bytes of the makers' file, on all test images of CIFAR-10."""
    images = assets.cifar10("test").images.astype(np.float32)
    vendor = VendorFile(vendor_path("pretrainedResnet_quant"), images)
    reduction = _reduction_to_half("resnet8", vendor)
    return replace(_cifar("resnet8", (reduction,), (reduction,), images=40_000), vendor=vendor)


def _dscnn() -> Subject:
    """The samples that do not calibrate test; those that do are also all there is to train on."""
    known, rest = keyword_split()
    data = assets.mlperf_keywords()
    inputs = NETWORKS["dscnn"].prepare(data.features)
    calibration, test = inputs[torch.from_numpy(known)], inputs[torch.from_numpy(rest)].numpy()
    vendor = VendorFile(vendor_path("kws_ref_model"), test.transpose(0, 2, 3, 1))
    reduction = _reduction_to_half("dscnn", vendor)
    return Subject(
        "dscnn",
        load_network("dscnn"),
        NETWORKS["dscnn"].input_shape,
        _batches(calibration, 64),
        Test(test, TOP1, _top1_percent(data.labels[rest]), batch=500),
        Training(lambda: _shuffled(calibration.repeat(_PASSES, 1, 1, 1)), epochs=5),
        (reduction,),
        (reduction,),
        vendor,
    )


def _autoencoder() -> Subject:
    """The first normal clips calibrate and train, each also equalised; all others test.

    With the plain windows of 30 clips alone, error compensation fits these clips: on ten others the
    clips' reconstruction errors shift by .140 (standard deviation), with equalised ones by .070.
    Fine-tuning lowers the distance there from 273e-6 to 262e-6 at a rate of 0.0003 with them, and
    at no other rate (0.003, 0.001) nor with the plain windows.

    Behind its bottleneck a thousandth of the windows meet so steep a part of the network that the
    second order says 25 times the rise that is measured; so it is measured.
    """
    sounds, prepare = assets.mlperf_sounds(), NETWORKS["autoencoder"].prepare
    normal = np.flatnonzero(sounds.anomalous == 0)[:SOUND_CALIBRATION]
    rest = np.setdiff1d(np.arange(len(sounds.anomalous)), normal)
    calibration, test = prepare(sounds.frames[normal]), prepare(sounds.frames[rest]).numpy()
    torch.manual_seed(0)
    moved = [equalised(calibration, _SOUND_BANDS) for _ in range(_EQUALISED)]
    vendor = VendorFile(vendor_path("ad01_int8"), test)
    reduction = _reduction_to_half("autoencoder", vendor)
    return Subject(
        "autoencoder",
        load_network("autoencoder"),
        NETWORKS["autoencoder"].input_shape,
        _batches(torch.cat([calibration, *moved]), 784),
        Test(test, AUC, _auc_percent(test, sounds.anomalous[rest]), batch=1_960),
        Training(
            lambda: EqualisedWindows(calibration, _SOUND_BANDS, 64),
            epochs=10,
            learning_rate=_SOUND_RATE,
        ),
        (reduction,),
        (reduction,),
        vendor,
        Distillation(as_values),
        "loss",
    )


def _imagenet(name: str, *, mirrored: bool) -> Subject:
    """MLPerf Mobile's images calibrate and, unlabelled, train; sample1000 tests.

    MobileNetV2 is rounded with mirror images too. Rounded with 200 images at 1/7.5 it diverges by
    .081 on the other 100, with their mirror images by .069; EfficientNet-Lite0 by .050 and .048,
    which is not worth twice the time.
    """
    prepare = NETWORKS[name].prepare
    calibration = prepare(assets.imagenet("mlperf_mobile_tiny300").images)
    test = assets.imagenet("sample1000")
    return Subject(
        name,
        load_network(name),
        NETWORKS[name].input_shape,
        _batches(calibration, _FEW_BATCH),
        Test(prepare(test.images).numpy(), TOP1, _top1_percent(test.labels), batch=_FEW_BATCH),
        Training(
            lambda: reused_loader(calibration, 1, _FEW_BATCH),
            epochs=10,
            held_back=other_views(calibration, _FEW_BATCH),
            learning_rate=_FEW_RATE,
        ),
        (4, 5, 6, 7.5, 10),
        (7.5,),
        mirrored=mirrored,
    )


def _yolox() -> Subject:
    """Images with an even number calibrate and, unlabelled, train; the others test."""
    data = assets.coco_tiny300()
    inputs = torch.from_numpy(prepared(data.images, YOLOX_SIDE))
    even = torch.from_numpy(data.numbers % 2 == 0)
    calibration, test = inputs[even], inputs[~even].numpy()

    def precision_percent(outputs: Float32Array) -> float:
        found = [detected(output, YOLOX_SIDE) for output in outputs]
        numbers = data.numbers[~even.numpy()]
        return 100 * average_precision(data.annotations, numbers, found, YOLOX_SIDE)

    with tempfile.TemporaryDirectory() as folder:
        file = assets.assets_folder() / "weights" / f"{YOLOX_FILE}.onnx"
        module = load_detector_heads(file, Path(folder))
    return Subject(
        YOLOX,
        module,
        (3, YOLOX_SIDE, YOLOX_SIDE),
        _batches(calibration, 10),
        Test(test, AP, precision_percent, batch=1, output=joined_arrays),
        Training(
            lambda: reused_loader(calibration, 1, 10),
            epochs=10,
            held_back=other_views(calibration, 10),
            learning_rate=_FEW_RATE,
        ),
        (4, 5, 6, 7, 8),
        (7,),
        loss=Distillation(seen_by_heads),
        float_layers=_WIDE_STEM,
    )


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "resnet56": _resnet56,
    "resnet20": _resnet20,
    "mobilenetv2": lambda: _imagenet("mobilenetv2", mirrored=True),
    "efficientnet_lite0": lambda: _imagenet("efficientnet_lite0", mirrored=False),
    YOLOX: _yolox,
    "resnet8": _resnet8,
    "dscnn": _dscnn,
    "autoencoder": _autoencoder,
}
"""Networks by name; each is loaded with its data when it is called."""


def _batches(inputs: torch.Tensor, size: int) -> tuple[Batch, ...]:
    return tuple(Batch((part,)) for part in inputs.split(size))


def _shuffled(inputs: torch.Tensor) -> DataLoader[tuple[torch.Tensor, ...]]:
    return DataLoader(TensorDataset(inputs), 64, shuffle=True)


def _reduction_to_half(name: str, vendor: VendorFile) -> float:
    """What the fp32 weights have to shrink by for a file of half the makers' bytes."""
    weights = sum(p.numel() for p in NETWORKS[name].build().parameters() if p.dim() > 1)
    return round(4 * weights / (vendor.file_bytes / 2 - _GRAPH_BYTES), 2)


def _top1_percent(labels: npt.NDArray[np.int64]) -> Callable[[Float32Array], float]:
    return lambda outputs: 100 * float((outputs.argmax(1) == labels).mean())


def _auc_percent(
    windows: Float32Array, anomalous: npt.NDArray[np.int64]
) -> Callable[[Float32Array], float]:
    """Area under the ROC curve of the clips' mean squared reconstruction errors."""

    def area(outputs: Float32Array) -> float:
        errors = np.square(outputs - windows).mean(1).reshape(len(anomalous), -1).mean(1)
        return 100 * float(sklearn.metrics.roc_auc_score(anomalous, errors))

    return area
