"""Images that mean the same in a mirror calibrate twice."""

from __future__ import annotations

import pytest
import torch

from sigmaquant.bitplan import BitPlan
from sigmaquant.calibration import Batch, read_batches
from sigmaquant.errors import ConfigError
from sigmaquant.quantized import quantize
from tests import nets


def test_mirror_images_calibrate_as_samples_of_their_own() -> None:
    network = nets.captured("resnet")
    plan = BitPlan.uniform(network.table, 3)
    batches = read_batches(nets.loader("resnet"), network)
    flipped = [Batch((batch.inputs[0].flip(3),)) for batch in batches]

    found = quantize(network, plan, batches, mirrored=True).state()
    expected = quantize(network, plan, [*batches, *flipped]).state()
    alone = quantize(network, plan, batches).state()

    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    assert any(not torch.equal(value, alone[name]) for name, value in found.items())


def test_what_is_no_image_has_no_mirror_image() -> None:
    network = nets.captured("mlp")
    with pytest.raises(ConfigError, match="no images"):
        quantize(network, BitPlan.uniform(network.table, 4), nets.loader("mlp"), mirrored=True)
