from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from benchmarks import assets
from benchmarks.check_assets import CHECKS, AssetCheck, agreement, anomaly_scores
from benchmarks.networks import NETWORKS, load_network


@pytest.fixture
def present() -> None:
    try:
        assets.assets_folder()
    except assets.AssetsAbsentError:
        pytest.skip("benchmark assets absent")


needs_assets = pytest.mark.usefixtures("present")


# The rest takes 500 samples; these are slow or large.
SAMPLES = {"efficientnet_lite0": 10, "mobilenetv2": 10, "autoencoder": 40}


@needs_assets
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.expected)
def test_rebuilt_networks_answer_as_recorded(check: AssetCheck) -> None:
    found = agreement(check, SAMPLES.get(check.network, 500))
    assert found.total >= 10
    assert found.agreeing == found.total


@needs_assets
def test_the_autoencoder_tells_broken_machines_from_whole_ones() -> None:
    sounds = assets.mlperf_sounds()
    scores = anomaly_scores(load_network("autoencoder"), sounds.frames)
    assert round(roc_auc_score(sounds.anomalous, scores), 3) == 0.880


@needs_assets
def test_cifar_images_come_in_the_order_of_their_labels() -> None:
    few = assets.cifar10("train", 1200)
    assert few.images.shape == (1200, 32, 32, 3)
    assert few.images.dtype == np.uint8
    assert np.array_equal(assets.cifar10("train", 1001).images, few.images[:1001])
    assert len(assets.cifar10("test")) == 9980
    assert np.array_equal(few.without_first(3).labels, few.labels[3:])


@needs_assets
def test_imagenet_images_are_read_by_index() -> None:
    chosen = assets.imagenet("sample1000", [7, 3])
    assert chosen.images.shape == (2, 224, 224, 3)
    assert np.array_equal(chosen.images[1], assets.imagenet("sample1000", [3]).images[0])
    assert chosen.labels.tolist() == [7, 3]


@needs_assets
def test_labelled_sets_of_mlperf_have_a_label_for_each_sample() -> None:
    images, keywords = assets.mlperf_images(), assets.mlperf_keywords()
    assert (len(images.images), len(images)) == (200, 200)
    assert (len(keywords.features), len(keywords.labels)) == (1000, 1000)


def test_an_absent_folder_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(assets.ENVIRONMENT_VARIABLE, str(tmp_path))
    with pytest.raises(
        assets.AssetsAbsentError, match=r"benchmark assets absent.*SIGMAQUANT_ASSETS"
    ):
        assets.cifar10("test")


@pytest.mark.parametrize("network", NETWORKS.values(), ids=lambda network: network.name)
def test_inputs_are_prepared_to_the_shape_that_the_network_takes(network) -> None:
    stored = {
        (1, 49, 10): np.zeros((2, 49, 10), np.int8),
        (640,): np.zeros((1, 6, 128), np.float16),
    }
    channels, *size = network.input_shape if len(network.input_shape) == 3 else (0,)
    image = np.zeros((2, *size, channels), np.uint8)
    inputs = network.prepare(stored.get(network.input_shape, image))
    assert inputs.shape == (2, *network.input_shape)
    assert inputs.dtype == torch.float32
