"""What is done about a file that is quantized already: refused, or dequantized on request."""

from __future__ import annotations

from collections.abc import Sequence

from sigmaquant.errors import UnsupportedError
from sigmaquant.network.onnx.records import OnnxNode

_PAIR = ("QuantizeLinear", "DequantizeLinear")
_INTEGER = {"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger"}
_MOVES = {
    "Concat",
    "Flatten",
    "Gather",
    "Identity",
    "MaxPool",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}
"""What gives the same numbers, whether it moves integers or what they stand for."""


def check_float(nodes: Sequence[OnnxNode], file: str) -> None:
    """Refuse a quantized file.

    Raises:
        UnsupportedError: says how else it can be taken.
    """
    for node in nodes:
        if node.op_type in _PAIR:
            raise UnsupportedError(
                f"{file} is quantized already: {node}. Give the float network that it was made "
                "from, or dequantize it (--dequantize, dequantize=True): what rounding took away "
                "does not come back"
            )
        _check_no_integers(node, file)


def check_pairs(nodes: Sequence[OnnxNode], file: str) -> None:
    """Refuse a quantized file that is more than float operators between pairs of Q and DQ.

    Raises:
        UnsupportedError: an operator computes with integers.
    """
    integers: set[str] = set()
    for node in nodes:
        _check_no_integers(node, file)
        reads = integers.intersection(node.inputs)
        if node.op_type == "QuantizeLinear" or (reads and node.op_type in _MOVES):
            integers.update(filter(None, node.outputs))
        elif reads and node.op_type != "DequantizeLinear":
            raise UnsupportedError(
                f"{file}: {node} computes with integers; only networks whose operators stand "
                "between DequantizeLinear and QuantizeLinear are dequantized. Give the float "
                "network that it was made from"
            )


def _check_no_integers(node: OnnxNode, file: str) -> None:
    if node.op_type in _INTEGER or node.op_type.startswith("QLinear"):
        raise UnsupportedError(
            f"{file} is quantized already: {node}. Give the float network that it was made from; "
            "what rounding took away cannot be given back"
        )
