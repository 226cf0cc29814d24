"""Functions of tensors value by value, and reductions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from sigmaquant.network.onnx.call import Builder, Call, Known, Step

Function: TypeAlias = Callable[..., Tensor]


def divide(a: Tensor, b: Tensor | float) -> Tensor:
    """The quotient, of integers towards zero as ONNX defines it."""
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _number_over(x: Tensor, number: float) -> Tensor:
    return number / x


_NUMBER_LAST: dict[Function, Function] = {
    torch.add: torch.add,
    torch.sub: torch.sub,
    torch.mul: torch.mul,
    divide: divide,
    torch.pow: torch.pow,
    torch.maximum: torch.clamp_min,
    torch.minimum: torch.clamp_max,
}
"""By function of two tensors, the same of a tensor and a number."""

_NUMBER_FIRST: dict[Function, Function] = {
    torch.add: torch.add,
    torch.sub: torch.rsub,
    torch.mul: torch.mul,
    divide: _number_over,
    torch.maximum: torch.clamp_min,
    torch.minimum: torch.clamp_max,
}
"""As above where the number was the first of the two."""


def _binary(function: Function) -> Builder:
    """With a constant on one side, that becomes part of the module."""

    def build(call: Call) -> Step:
        a, b = call.value(0), call.value(1)
        if a.known == b.known:
            return Step(Apply(function), (0, 1))
        position = 1 if b.known else 0
        constant = call.value(position).constant
        if constant is None:
            return Step(Apply(function), (0, 1))
        return _with_constant(call, function, constant, position)

    return build


def _with_constant(call: Call, function: Function, constant: Tensor, position: int) -> Step:
    other = 1 - position
    numbered = (_NUMBER_LAST if position == 1 else _NUMBER_FIRST).get(function)
    is_number = constant.numel() == 1 and constant.dim() <= call.rank(other)
    if is_number and numbered is not None and call.value(other).dtype == constant.dtype:
        # A number rather than a tensor: then the operator is a function of one tensor alone.
        return Step(WithNumber(numbered, constant.item()), (other,))
    if constant.is_floating_point():
        constant = call.parameter(position, "constant")
    return Step(WithTensor(function, constant, first=position == 0), (other,))


def _variadic(function: Function) -> Builder:
    """Max, Min and Sum take any number of tensors."""

    def build(call: Call) -> Step | Known:
        if len(call.inputs) == 2:
            return _binary(function)(call)
        return Step(Apply(functools.partial(_reduce, function)), tuple(range(len(call.inputs))))

    return build


def _reduce(function: Function, *tensors: Tensor) -> Tensor:
    return functools.reduce(function, tensors)


def _power(call: Call) -> Step | Known:
    exponent = call.value(1).constant
    if exponent is not None and exponent.numel() == 1 and not call.value(0).known:
        # The exponent may be of another type than the base, which alone gives the result's.
        return Step(WithNumber(torch.pow, exponent.item()))
    return _binary(torch.pow)(call)


def _where(_: Call) -> Step:
    return Step(Apply(torch.where), (0, 1, 2))


def _unary(function: Function) -> Builder:
    return lambda _: Step(Apply(function))


def _reduction(function: Function, axes_input_since: int) -> Builder:
    def build(call: Call) -> Step:
        named = call.axes_since(axes_input_since)
        if not named and call.integer("noop_with_empty_axes", 0):
            return Step(nn.Identity())
        axes = call.axes(named) if named else tuple(range(call.rank()))
        return Step(Reduction(function, axes, keep=bool(call.integer("keepdims", 1))))

    return build


class Apply(nn.Module):
    """A torch function of tensors that broadcast."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Tensor:
        """Any shapes that broadcast."""
        return self.function(*tensors)

    def extra_repr(self) -> str:
        """What is applied, for printing."""
        return getattr(self.function, "__name__", "")


class WithNumber(nn.Module):
    """A torch function of a tensor and a number."""

    def __init__(self, function: Function, number: float) -> None:
        super().__init__()
        self.function = function
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, kept."""
        return self.function(x, self.number)

    def extra_repr(self) -> str:
        """What is applied, for printing."""
        return f"{self.function.__name__}, {self.number:g}"


class WithTensor(nn.Module):
    """A torch function of a tensor and a constant one.

    Args:
        function: of two tensors.
        constant: broadcasts with the input; trainable where it is a parameter.
        first: whether the constant comes first.
    """

    constant: Tensor

    def __init__(self, function: Function, constant: Tensor, *, first: bool) -> None:
        super().__init__()
        self.function = function
        self.first = first
        if isinstance(constant, nn.Parameter):
            self.register_parameter("constant", constant)
        else:
            self.register_buffer("constant", constant)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape that broadcasts."""
        return self.function(self.constant, x) if self.first else self.function(x, self.constant)

    def extra_repr(self) -> str:
        """What is applied, for printing."""
        return f"{self.function.__name__}, first={self.first}"


class Reduction(nn.Module):
    """A torch function that reduces dimensions.

    Args:
        function: takes the tensor, the dimensions and whether they stay as 1.
        axes: counted from the front.
        keep: whether they stay.
    """

    def __init__(self, function: Function, axes: tuple[int, ...], *, keep: bool) -> None:
        super().__init__()
        self.function = function
        self.axes = axes
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return self.function(x, self.axes, self.keep) if self.axes else x

    def extra_repr(self) -> str:
        """What is reduced, for printing."""
        return f"{self.function.__name__}, axes={self.axes}, keep={self.keep}"


def _named(
    builders: dict[str, Function], wrap: Callable[[Function], Builder]
) -> dict[str, Builder]:
    return {name: wrap(function) for name, function in builders.items()}


BUILDERS: dict[str, Builder] = {
    "Pow": _power,
    "Where": _where,
    "ReduceMean": _reduction(torch.mean, axes_input_since=18),
    "ReduceSum": _reduction(torch.sum, axes_input_since=13),
    "ReduceMax": _reduction(torch.amax, axes_input_since=18),
    "ReduceMin": _reduction(torch.amin, axes_input_since=18),
    **_named({"Max": torch.maximum, "Min": torch.minimum, "Sum": torch.add}, _variadic),
    **_named(
        {
            "Add": torch.add,
            "And": torch.logical_and,
            "Div": divide,
            "Equal": torch.eq,
            "Greater": torch.gt,
            "GreaterOrEqual": torch.ge,
            "Less": torch.lt,
            "LessOrEqual": torch.le,
            "Mul": torch.mul,
            "Or": torch.logical_or,
            "Sub": torch.sub,
        },
        _binary,
    ),
    **_named(
        {
            "Abs": torch.abs,
            "Ceil": torch.ceil,
            "Erf": torch.erf,
            "Exp": torch.exp,
            "Floor": torch.floor,
            "Log": torch.log,
            "Neg": torch.neg,
            "Not": torch.logical_not,
            "Reciprocal": torch.reciprocal,
            "Sqrt": torch.sqrt,
        },
        _unary,
    ),
}
"""By ONNX operator."""
