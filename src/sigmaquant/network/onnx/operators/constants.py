"""Constants, changes of type, and operators that do nothing when a trained network runs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sigmaquant.network.onnx.call import Builder, Call, Known, Step
from sigmaquant.network.onnx.reading import dtype_of


def _constant(call: Call) -> Known:
    found = {
        name: value for name, value in call.node.attributes.items() if name.startswith("value")
    }
    if len(found) != 1:
        call.unsupported("its value is in a form that is not read; store it as a tensor")
    (value,) = found.values()
    if isinstance(value, str):
        call.unsupported("it is a text")
    if isinstance(value, Tensor):
        return Known((value,))
    whole = isinstance(value, int) or (
        isinstance(value, tuple) and call.node.attributes.get("value_ints") is value
    )
    return Known((torch.tensor(value, dtype=torch.int64 if whole else torch.float32),))


def _constant_of_shape(call: Call) -> Known:
    fill = call.node.attributes.get("value", torch.zeros(1))
    if not call.value().known or not isinstance(fill, Tensor) or fill.numel() != 1:
        call.unsupported(
            "its shape is computed from values of the input, or its value is no number"
        )
    shapes = [tuple(int(n) for n in shape.reshape(-1).tolist()) for shape in call.value().distinct]
    if any(size < 0 for shape in shapes for size in shape):
        call.damaged(f"it makes the shape {list(shapes[0])}")
    return Known(call.evaluator.made(tuple(fill.reshape(()).expand(shape) for shape in shapes)))


def _range(call: Call) -> Known:
    start, limit, step = (
        call.constant(i, what) for i, what in enumerate(("start", "limit", "delta"))
    )
    if any(bound.numel() != 1 for bound in (start, limit, step)) or not step.item():
        call.damaged("its start, limit or delta is not a number")
    first, last, stride = start.item(), limit.item(), step.item()
    count = max(0, math.ceil((last - first) / stride))
    call.evaluator.spend(count * start.element_size())
    return Known(((torch.arange(count, dtype=start.dtype) * stride + first).to(start.dtype),))


def _cast(call: Call) -> Step:
    wanted = dtype_of(call.integer("to", 0))
    if wanted is None:
        call.unsupported(
            f"it casts to ONNX's type {call.integer('to', 0)}; export the model in float32"
        )
    return Step(nn.Identity() if call.value().dtype == wanted else Cast(wanted))


def _identity(_: Call) -> Step:
    return Step(nn.Identity())


def _dropout(call: Call) -> Step:
    call.only_output()
    if call.has(2) and bool(call.constant(2, "training_mode").any()):
        call.unsupported("it is in training mode; export the model in evaluation mode")
    return Step(nn.Identity())


class Cast(nn.Module):
    """Values in another type."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, kept."""
        return x.to(self.dtype)


BUILDERS: dict[str, Builder] = {
    "Cast": _cast,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Dropout": _dropout,
    "Identity": _identity,
    "Range": _range,
}
"""By ONNX operator."""
