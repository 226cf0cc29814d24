from __future__ import annotations

import pytest

from sigmaquant.layers import LayerKind, LayerTable
from tests import nets


def steps(table: LayerTable) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(step.operator, step.output, step.live) for step in table.steps]


def test_layers_of_a_residual_network_by_hand() -> None:
    table = nets.captured("resnet").table
    expected = {
        # weight, input, output, multiply-accumulates
        "conv1": ((4, 3, 3, 3), (3, 8, 8), (4, 8, 8), 64 * 4 * 27),
        "layer1.0.conv1": ((4, 4, 3, 3), (4, 8, 8), (4, 8, 8), 64 * 4 * 36),
        "layer1.0.conv2": ((4, 4, 3, 3), (4, 8, 8), (4, 8, 8), 64 * 4 * 36),
        "layer2.0.conv1": ((8, 4, 3, 3), (4, 8, 8), (8, 4, 4), 16 * 8 * 36),
        "layer2.0.conv2": ((8, 8, 3, 3), (8, 4, 4), (8, 4, 4), 16 * 8 * 72),
        "fc": ((5, 8), (8,), (5,), 40),
    }
    found = {
        layer.name: (layer.weight_shape, layer.input_shape, layer.output_shape, layer.macs)
        for layer in table.layers
    }
    assert found == expected
    assert table.macs == 39208
    assert table.weights == 108 + 144 + 144 + 288 + 576 + 40
    assert table.float_parameters == 0


def test_kinds_and_groups() -> None:
    table = nets.captured("mobilenet").table
    kinds = {layer.name: (layer.kind, layer.groups) for layer in table.layers}
    assert kinds["stem.0"] == (LayerKind.CONV, 1)
    assert kinds["blocks.0.layers.3"] == (LayerKind.DEPTHWISE_CONV, 12)
    assert kinds["classifier.1"] == (LayerKind.LINEAR, 1)
    # Two channels a group are not depthwise; a channel multiplier of two is.
    assert nets.captured("shuffle").table.layer("branch").kind is LayerKind.CONV
    assert nets.captured("norms").table.layer("depthwise").kind is LayerKind.DEPTHWISE_CONV
    assert nets.captured("norms").table.layer("depthwise").macs == 8 * 16 * 9
    assert nets.captured("conv1d").table.layer("conv2").weight_shape == (6, 2, 3)


def test_a_layer_counts_the_work_of_all_its_uses() -> None:
    table = nets.captured("tied").table
    tied, twice, out = table.layers
    assert (tied.weights, tied.macs) == (36, 72)
    assert (twice.name, twice.macs, len(twice.input_groups)) == ("twice", 72, 2)
    assert out.macs == 18


def test_the_schedule_of_a_residual_network_by_hand() -> None:
    found = steps(nets.captured("resnet").table)
    block = "layer1.0"
    assert found[:5] == [
        ("conv", "conv1", ("x", "conv1")),
        # The block's input waits for the sum.
        ("conv", f"{block}.conv1", ("conv1", f"{block}.conv1")),
        ("conv", f"{block}.conv2", ("conv1", f"{block}.conv1", f"{block}.conv2")),
        ("add", f"{block}.add", ("conv1", f"{block}.conv2", f"{block}.add")),
        ("conv", "layer2.0.conv1", (f"{block}.add", "layer2.0.conv1")),
    ]
    assert found[-2:] == [
        ("global_average", "avg_pool2d", ("layer2.0.add", "avg_pool2d")),
        # The reshape between them moves nothing.
        ("linear", "fc", ("avg_pool2d", "fc")),
    ]


def test_outputs_live_to_the_end() -> None:
    table = nets.captured("multi_output").table
    *_, last = table.steps
    assert last.output == "classes"
    assert last.live == ("mask", "mean", "classes")


def test_an_input_read_late_is_kept() -> None:
    first, second, *_ = nets.captured("two_inputs").table.steps
    # The layers are called like the inputs, so their places are numbered.
    assert (first.layer, first.live) == ("image", ("image", "vector", "image_2"))
    assert (second.operator, second.live) == ("global_average", ("vector", "image_2", "mean"))


def test_clamps_in_place_and_of_their_own() -> None:
    table = nets.captured("pre_activation").table
    found = {output: (operator, live) for operator, output, live in steps(table)}
    # The sum is read again later, so its ReLU needs memory of its own.
    assert found["relu_2"] == ("clamp", ("add", "relu_2"))
    assert "relu_3" not in {tensor.name for tensor in table.tensors}


@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("pools", {"conv", "max_pool2d", "average_pool", "adaptive_avg_pool2d", "linear"}),
        ("activations", {"conv", "linear", "lookup", "global_average"}),
        ("concat", {"conv", "max_pool2d", "concat", "global_average"}),
        ("mobilenet", {"conv", "depthwise_conv", "add", "global_average", "linear"}),
    ],
)
def test_operators_are_named(name: str, operators: set[str]) -> None:
    table = nets.captured(name).table
    assert {step.operator for step in table.steps} == operators


def test_float_steps_are_marked() -> None:
    table = nets.captured("unknown").table
    marked = {step.operator: step.quantized for step in table.steps}
    assert marked["cumsum"] is False
    assert marked["conv"] is True
    by_name = {tensor.name: tensor.group for tensor in table.tensors}
    assert by_name["cumsum"] == "cumsum"


def test_numbers_computed_from_the_batch_are_no_operators() -> None:
    table = nets.captured("attention").table
    assert not [step for step in table.steps if "sym" in step.operator]
    assert not [name for name in table.float_operators if "sym" in name or "built-in" in name]
