from __future__ import annotations

import math

import pytest

from sigmaquant.layers import LayerKind, LayerSpec, LayerTable, StepSpec, TensorSpec


def conv(name, channels, kernel, size, stride=1, group="a"):
    """A square convolution layer: channels (in, out), an input of size x size."""
    inputs, outputs = channels
    out_size = size // stride
    return LayerSpec(
        name=name,
        kind=LayerKind.CONV,
        weight_shape=(outputs, inputs, kernel, kernel),
        input_shape=(inputs, size, size),
        output_shape=(outputs, out_size, out_size),
        macs=outputs * out_size**2 * inputs * kernel**2,
        input_groups=(group,),
        output_group=group,
    )


def linear(name, inputs, outputs, group="a"):
    return LayerSpec(
        name=name,
        kind=LayerKind.LINEAR,
        weight_shape=(outputs, inputs),
        input_shape=(inputs,),
        output_shape=(outputs,),
        macs=inputs * outputs,
        input_groups=(group,),
        output_group=None,
    )


def depthwise(name, channels, size, group="a"):
    return LayerSpec(
        name=name,
        kind=LayerKind.DEPTHWISE_CONV,
        weight_shape=(channels, 1, 3, 3),
        input_shape=(channels, size, size),
        output_shape=(channels, size, size),
        macs=channels * size**2 * 9,
        groups=channels,
        input_groups=(group,),
        output_group=group,
    )


@pytest.fixture
def resnet8():
    """MLPerf Tiny's ResNet-8 (image classification), 12,501,632 MACs, operators in order."""
    layers, tensors, steps = [], [], []

    def tensor(name, shape, group="a"):
        tensors.append(TensorSpec(name=name, shape=shape, group=group))
        return name

    def step(name, operator, live, output, layer=None):
        steps.append(
            StepSpec(
                name=name,
                operator=operator,
                layer=layer,
                live=tuple(dict.fromkeys((*live, output))),
                output=output,
                quantized=True,
            )
        )
        return output

    def apply(layer, source, *waiting):
        layers.append(layer)
        output = tensor(f"{layer.name}.out", layer.output_shape, layer.output_group)
        return step(layer.name, str(layer.kind), (source, *waiting), output, layer=layer.name)

    flow = apply(conv("conv1", (3, 16), 3, 32), tensor("image", (3, 32, 32)))
    inputs, size = 16, 32
    for index, (outputs, stride) in enumerate([(16, 1), (32, 2), (64, 2)]):
        name = f"stack{index}"
        out_size = size // stride
        skip = flow
        flow = apply(conv(f"{name}.conv1", (inputs, outputs), 3, size, stride), flow)
        flow = apply(conv(f"{name}.conv2", (outputs, outputs), 3, out_size), flow, skip)
        if stride > 1:
            skip = apply(conv(f"{name}.skip", (inputs, outputs), 1, size, stride), skip, flow)
        total = tensor(f"{name}.sum", (outputs, out_size, out_size))
        flow = step(f"{name}.add", "add", (flow, skip), total)
        inputs, size = outputs, out_size
    pooled = step("pool", "global_average", (flow,), tensor("pooled", (64,)))
    apply(linear("fc", 64, 10), pooled)
    return LayerTable(
        network="ResNet8", layers=tuple(layers), tensors=tuple(tensors), steps=tuple(steps)
    )


@pytest.fixture
def autoencoder():
    """MLPerf Tiny's anomaly detector: ten fully connected layers, 264,192 MACs."""
    widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640]
    layers = tuple(linear(f"fc{i}", *widths[i : i + 2]) for i in range(10))
    tensors = tuple(
        TensorSpec(name=f"t{i}", shape=(width,), group="a") for i, width in enumerate(widths)
    )
    steps = tuple(
        StepSpec(
            name=layer.name,
            operator="linear",
            layer=layer.name,
            live=(f"t{i}", f"t{i + 1}"),
            output=f"t{i + 1}",
            quantized=True,
        )
        for i, layer in enumerate(layers)
    )
    return LayerTable(network="AutoEncoder", layers=layers, tensors=tensors, steps=steps)


@pytest.fixture
def one_layer():
    """A table of a single layer, chosen by kind."""
    made = {
        "conv": conv("only", (3, 16), 3, 32),
        "linear": linear("only", 64, 10),
        "depthwise_conv": depthwise("only", 32, 16),
    }

    def build(kind, **changes):
        layer = made[kind].model_copy(update=changes)
        tensors = (
            TensorSpec(name="in", shape=layer.input_shape, group="a"),
            TensorSpec(name="out", shape=layer.output_shape, group="a"),
        )
        steps = (
            StepSpec(
                name="only",
                operator=kind,
                layer="only",
                live=("in", "out"),
                output="out",
                quantized=True,
            ),
        )
        assert math.prod(layer.weight_shape) == layer.weights
        return LayerTable(network="One", layers=(layer,), tensors=tensors, steps=steps)

    return build
