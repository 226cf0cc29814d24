"""From a quantized network to the integer record."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch._ops import OpOverload
from torch.fx import Node

from sigmaquant.bitplan import BitPlan
from sigmaquant.errors import UnsupportedError
from sigmaquant.lowering.dyadic import dyadic_scales
from sigmaquant.lowering.moves import moved, sliced
from sigmaquant.lowering.ports import with_port_names
from sigmaquant.lowering.program import (
    Add,
    Argument,
    AveragePool,
    BatchSize,
    Clamp,
    Concat,
    Convolution,
    Dequantize,
    Encoding,
    FloatOperator,
    GlobalAverage,
    Int32Array,
    IntegerProgram,
    Linear,
    Lookup,
    MatMul,
    Operator,
    Quantize,
    UInt8Array,
    Value,
    Weights,
)
from sigmaquant.network.normalise import arguments_of, tensor_of
from sigmaquant.network.operators import (
    CONVOLUTIONS,
    Role,
    aten,
    average_window,
    clamp_limits,
    convolution_arguments,
    is_global_average,
    layer_name,
    operator_name,
    pad_sides,
)
from sigmaquant.network.recurrent import FROM_ZERO, RECURRENT
from sigmaquant.network.runner import call
from sigmaquant.quantized import QuantizedNetwork
from sigmaquant.quantizers import AffineRange, fake_quantize

_INT32_MAX = 2**31 - 1
_WIDEST_ACTIVATION = 8  # bits


def lower(quantized: QuantizedNetwork) -> IntegerProgram:
    """Every operator of the network as integers, scales and widths.

    Raises:
        UnsupportedError: activations are wider than 8 bits, an accumulator could overflow int32, or
            a value is not what the record holds: one float32 tensor whose first dimension is the
            batch.
    """
    check_widths(quantized.plan)
    with torch.no_grad():
        program = _Lowering(quantized).program()
    ports = quantized.network.ports
    return program if ports is None else with_port_names(program, ports.inputs, ports.outputs)


def check_widths(plan: BitPlan) -> None:
    """Refuse a plan that the record cannot hold, before any work is done for it.

    Raises:
        UnsupportedError: activations are wider than 8 bits; names the first group.
    """
    wide = [group for group, bits in plan.activation_bits.items() if bits > _WIDEST_ACTIVATION]
    if wide:
        raise UnsupportedError(
            f"activations of {plan.activation_bits[wide[0]]} bits at {wide[0]}: the integer record "
            f"holds them in uint8, so {_WIDEST_ACTIVATION} bits are the most; search with "
            f"activation_bits={_WIDEST_ACTIVATION}, or keep the quantized network as a simulation"
        )


class _Lowering:
    """The walk over the graph; ``_values`` and ``_operators`` grow with it."""

    def __init__(self, quantized: QuantizedNetwork) -> None:
        self._quantized = quantized
        self._network = quantized.network
        self._parts = quantized.network.encodings
        self._absorbed = {clamp: node for node, clamp in self._parts.fused.items()}
        self._values: dict[str, Value] = {}
        self._operators: list[Operator] = []
        self._names: dict[Node, str] = {}
        self._weights: dict[str, Weights] = {}
        self._encodings, self._fraction_bits = self._settle_encodings()

    def _settle_encodings(self) -> tuple[dict[str, Encoding], dict[str, int]]:
        groups = self._network.table.groups
        ranges = {g: self._quantized.activation_quantizer(g).encoding() for g in groups}
        scales, fraction_bits = dyadic_scales(
            {group: r.scale for group, r in ranges.items()}, self._parts.sum_groups
        )
        encodings = {g: Encoding(scales[g], r.zero_point, r.bits) for g, r in ranges.items()}
        return encodings, fraction_bits

    def program(self) -> IntegerProgram:
        """Lower node after node."""
        outputs: tuple[str, ...] = ()
        inputs = []
        for node in self._network.module.graph.nodes:
            if node.op == "placeholder":
                inputs.append(self._lower_input(node))
            elif node.op == "call_function" and node.meta["shape"] is not None:
                self._lower_call(node)
            elif node.op == "output":
                outputs = self._lower_outputs(node)
        return IntegerProgram(
            network=self._network.table.network,
            values=self._values,
            operators=tuple(self._operators),
            inputs=tuple(inputs),
            outputs=outputs,
        )

    def _lower_input(self, node: Node) -> str:
        name, dtype = str(node.target), node.meta["val"].dtype
        if not dtype.is_floating_point:
            raise UnsupportedError(
                f"input {name!r} holds {dtype}; only float32 inputs can be lowered. Capture the "
                "part of the network behind its embedding"
            )
        self._values[name] = Value(name, tuple(node.meta["shape"]), None)
        self._names[node] = name
        if node in self._parts.groups:
            self._quantize(node)
        return name

    def _quantize(self, node: Node) -> None:
        """Quantize a float value; from here on its integers stand for it."""
        source = self._names[node]
        target = self._new_value(node, f"{source}/quantized", self._encoding(node))
        self._operators.append(Quantize(target, (source,), target))
        self._names[node] = target

    def _encoding(self, node: Node) -> Encoding | None:
        group = self._parts.groups.get(node)
        return None if group is None else self._encodings[group]

    def _new_value(self, node: Node, name: str, encoding: Encoding | None) -> str:
        assert name not in self._values, name
        self._values[name] = Value(name, tuple(node.meta["shape"]), encoding)
        return name

    def _lower_call(self, node: Node) -> None:
        role = self._parts.roles[node]
        if node in self._absorbed:
            self._names[node] = self._names[self._absorbed[node]]
        elif role is Role.FLOAT:
            self._lower_float(node)
        elif node not in self._parts.absorbed:
            _LOWERERS[role](self, node)

    def _input(self, node: Node, argument: int = 0) -> str:
        return self._names[arguments_of(node)[argument]]

    def _emit(self, node: Node, make: Callable[[str, str], Operator]) -> None:
        """Append the operator of an integer node and, if one is fused, its clamp."""
        clamp = self._parts.fused.get(node)
        holder = clamp or node
        encoding = self._encoding(holder)
        place = self._network.places[node]
        target = self._new_value(node, place, encoding)
        self._operators.append(make(place, target))
        self._names[node] = target
        if clamp is not None and encoding is not None:
            self._limit(node, clamp, encoding)

    def _limit(self, node: Node, clamp: Node, encoding: Encoding) -> None:
        """Clamp integers explicitly where the encoding reaches beyond the clamp's limits."""
        low, high = _integer_limits(clamp, encoding)
        if (low, high) != (0, encoding.highest):
            place = self._network.places[clamp]
            target = self._new_value(clamp, place, encoding)
            self._operators.append(Clamp(place, (self._names[node],), target, low, high))
            self._names[node] = target

    def lower_layer(self, node: Node) -> None:
        """A convolution or linear layer."""
        layer = layer_name(node)
        source = arguments_of(node)[0]
        padding: tuple[tuple[int, int], ...] = ()
        if source in self._parts.absorbed:
            padding = pad_sides(source)[1:]
            source = arguments_of(source)[0]
        inputs = (self._names[source],)
        weights = self._layer_weights(layer)
        encoding = self._values[inputs[0]].encoding
        assert encoding is not None
        bias = self._integer_bias(node, weights, encoding)
        if node.target not in CONVOLUTIONS:
            self._emit(node, lambda name, out: Linear(name, inputs, out, weights, bias))
            return
        how = convolution_arguments(node)
        own = tuple((p, p) for p in how.padding)
        sides = tuple(
            (a + c, b + d)
            for (a, b), (c, d) in zip(padding or ((0, 0),) * len(own), own, strict=True)
        )
        self._emit(
            node,
            lambda name, out: Convolution(
                name, inputs, out, weights, bias, how.stride, sides, how.dilation, how.groups
            ),
        )

    def _layer_weights(self, layer: str) -> Weights:
        if layer not in self._weights:
            quantizer = self._quantized.weight_quantizer(layer)
            self._weights[layer] = Weights(
                layer=layer,
                bits=quantizer.bits,
                values=quantizer.levels(self._quantized.weight(layer)).numpy(),
                scales=quantizer.safe_scale().flatten().numpy().copy(),
            )
        return self._weights[layer]

    def _integer_bias(self, node: Node, weights: Weights, encoding: Encoding) -> Int32Array:
        """The bias at scale s_x s_w; raises where an accumulator could leave int32."""
        real = tensor_of(self._quantized.graph_module, arguments_of(node)[2]).double().numpy()
        bias = np.rint(real / (np.float64(encoding.scale) * weights.scales))
        magnitudes = np.abs(weights.values.astype(np.int64)).reshape(len(bias), -1).sum(1)
        worst = np.abs(bias) + magnitudes * max(encoding.zero_point, encoding.highest)
        if np.any(worst > _INT32_MAX):
            channel = int(np.argmax(worst))
            raise UnsupportedError(
                f"{weights.layer}: the accumulator of output channel {channel} can reach "
                f"{worst[channel]:.3g}, more than int32 holds; its bias of {real[channel]:.3g} is "
                "too large for its weights. Keep this layer in float or rescale it"
            )
        return bias.astype(np.int32)

    def lower_matmul(self, node: Node) -> None:
        """A matrix product of two tensors."""
        inputs = self._input(node, 0), self._input(node, 1)
        self._emit(node, lambda name, out: MatMul(name, inputs, out))

    def lower_add(self, node: Node) -> None:
        """A sum of two tensors."""
        inputs = self._input(node, 0), self._input(node, 1)
        # Summands in the sum's own group have a ratio of one, which needs no fraction.
        group = self._parts.groups[self._parts.fused.get(node, node)]
        fraction_bits = self._fraction_bits.get(group, 0)
        self._emit(node, lambda name, out: Add(name, inputs, out, fraction_bits))

    def lower_average(self, node: Node) -> None:
        """A global average or an average pool."""
        inputs = (self._input(node),)
        if is_global_average(node):
            keepdim = len(node.meta["shape"]) > 1
            self._emit(node, lambda name, out: GlobalAverage(name, inputs, out, keepdim))
            return
        window = average_window(node)
        assert window is not None
        kernel, stride, padding = window
        sides = tuple((p, p) for p in padding)
        self._emit(node, lambda name, out: AveragePool(name, inputs, out, kernel, stride, sides))

    def lower_lookup(self, node: Node) -> None:
        """Any function of one value: computed once for each integer."""
        (source,) = (n for n in node.all_input_nodes if n.op != "get_attr")
        name = self._names[source]
        given, wanted = self._values[name].encoding, self._encoding(node)
        assert given is not None
        assert wanted is not None
        table = _table(node, source, given, wanted)
        function = operator_name(node).split(".")[0]
        self._emit(node, lambda place, out: Lookup(place, (name,), out, table, function))

    def lower_clamp(self, node: Node) -> None:
        """A clamp that is not part of a layer or sum."""
        encoding = self._encoding(node)
        assert encoding is not None
        low, high = _integer_limits(node, encoding)
        inputs = (self._input(node),)
        self._emit(node, lambda name, out: Clamp(name, inputs, out, low, high))

    def lower_concat(self, node: Node) -> None:
        """A concatenation of values of one encoding."""
        tensors, dim = arguments_of(node)
        inputs = tuple(self._names[t] for t in tensors)
        axis = dim % (len(node.meta["shape"]) + 1) - 1
        self._emit(node, lambda name, out: Concat(name, inputs, out, axis))

    def lower_move(self, node: Node) -> None:
        """Operators that only copy, compare or reorder integers."""
        source = arguments_of(node)[0]
        if source in self._parts.absorbed:
            inputs = (self._input(source),)
            self._emit(node, lambda name, out: sliced((source, node), name, inputs, out))
            return
        inputs = (self._names[source],)
        self._emit(node, lambda name, out: moved(node, name, inputs, out))

    def _lower_float(self, node: Node) -> None:
        called = _called(node)
        place_name = self._network.places[called]
        if not isinstance(called.target, OpOverload):
            self._check_recurrent(node)
            source = operator_name(node.all_input_nodes[0])
            raise UnsupportedError(
                f"{place_name} takes one of several results of {source}; only operators with one "
                "result can be lowered, such as amax for max"
            )
        inputs: list[str] = []

        def place(argument: Any) -> Any:
            if isinstance(argument, Node):
                return self._float_argument(argument, inputs)
            if isinstance(argument, list | tuple):
                return type(argument)(place(item) for item in argument)
            return argument

        arguments = tuple(place(a) for a in _arguments(called))
        if not inputs:
            raise UnsupportedError(
                f"{place_name} ({operator_name(called)}) makes a batch of a constant; use "
                "broadcasting, which needs none"
            )
        target = self._new_value(node, place_name, None)
        self._operators.append(
            FloatOperator(
                place_name, tuple(inputs), target, f"aten.{operator_name(called)}", arguments, {}
            )
        )
        self._names[node] = target
        if node in self._parts.groups:
            self._quantize(node)

    def _float_argument(self, node: Node, inputs: list[str]) -> Any:
        if node.op == "get_attr":
            return tensor_of(self._quantized.graph_module, node).detach().numpy()
        if node.target is aten.sym_size.int and node.args[1] == 0:
            return BatchSize()
        self._check_held(node)
        name = self._float_name(node)
        if name not in inputs:
            inputs.append(name)
        return Argument(inputs.index(name))

    def _check_held(self, node: Node) -> None:
        if node not in self._names:
            self._check_recurrent(node)
            raise UnsupportedError(
                f"{self._network.places.get(node, node.name)} ({operator_name(node)}) does not "
                "give a tensor whose first dimension is the batch, and the integer program holds "
                "no other values; keep the batch first, and reshape with -1 instead of computed "
                "sizes"
            )

    def _check_recurrent(self, node: Node) -> None:
        """Name a recurrent layer as such, of which something else is read than its states."""
        for source in (node, *node.all_input_nodes):
            if source.target in RECURRENT:
                raise UnsupportedError(
                    f"{self._network.places[source]} ({operator_name(source)}) is a recurrent "
                    "layer that starts from a state that it is given, or of which more is read "
                    "than its states at all steps and, of a single layer, the last one; exported "
                    "files hold no other. Keep the quantized network in PyTorch"
                )

    def _float_name(self, node: Node) -> str:
        """The float value of a node; dequantized once, however often it is read."""
        name = self._names[node]
        if self._values[name].encoding is None:
            return name
        target = f"{name}/float"
        if target not in self._values:
            self._new_value(node, target, None)
            self._operators.append(Dequantize(target, (name,), target))
        return target

    def _lower_outputs(self, node: Node) -> tuple[str, ...]:
        for returned in node.all_input_nodes:
            self._check_held(returned)
        return tuple(self._float_name(returned) for returned in node.all_input_nodes)


def _called(node: Node) -> Node:
    """The call behind a float value: of a recurrent layer the first of its results is read."""
    source = node.args[0] if node.target is operator.getitem else None
    if isinstance(source, Node) and source.meta.get(FROM_ZERO) and node.args[1] == 0:
        return source
    return node


def _arguments(called: Node) -> list[Any]:
    arguments = arguments_of(called)
    if called.meta.get(FROM_ZERO):
        arguments[1] = None
    return arguments


_LOWERERS: dict[Role, Callable[[_Lowering, Node], None]] = {
    Role.LAYER: _Lowering.lower_layer,
    Role.MATMUL: _Lowering.lower_matmul,
    Role.ADD: _Lowering.lower_add,
    Role.AVERAGE: _Lowering.lower_average,
    Role.LOOKUP: _Lowering.lower_lookup,
    Role.CLAMP: _Lowering.lower_clamp,
    Role.CONCAT: _Lowering.lower_concat,
    Role.MOVE: _Lowering.lower_move,
}


def _integer_limits(clamp: Node, encoding: Encoding) -> tuple[int, int]:
    """The integers of a clamp's limits, within the encoding's own."""
    limits = []
    for limit in clamp_limits(clamp):
        steps = np.clip(limit / encoding.scale, -1e6, 1e6)
        limits.append(int(np.clip(np.rint(steps) + encoding.zero_point, 0, encoding.highest)))
    return limits[0], limits[1]


def _table(node: Node, source: Node, given: Encoding, wanted: Encoding) -> UInt8Array:
    integers = torch.arange(given.highest + 1, dtype=torch.float32)
    real = (integers - given.zero_point) * given.scale
    result = call(node, {source: real})
    encoding = AffineRange(wanted.scale, wanted.zero_point, wanted.bits)
    steps = fake_quantize(result, encoding) / wanted.scale + wanted.zero_point
    return torch.round(steps).to(torch.uint8).numpy()
