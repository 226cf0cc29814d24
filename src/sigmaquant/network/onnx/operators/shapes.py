"""Operators that move values or change the shape, and those that compute with shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sigmaquant.network.onnx.call import Builder, Call, Known, Step, integer_tensor, per_probe

_ALL = 2**31 - 1
"""An end of a slice that means all, in the least of the types that exporters use."""


def _reshape(call: Call) -> Step:
    allow_zero = bool(call.integer("allowzero", 0))
    wanted = call.value(1)
    if not wanted.known:
        call.unsupported("its shape is computed from values of the input; export a fixed shape")
    targets = [tuple(int(n) for n in t.reshape(-1).tolist()) for t in wanted.tensors]
    if call.one_sample and call.value().follows_batch(0):
        sample = _resolved(call, (1, *call.shape()[1:]), targets[0], allow_zero)
        if sample[:1] != (1,):
            call.unsupported("it gives the batch away")
        return Step(Reshape((-1, *sample[1:])))
    shapes = [
        _resolved(call, shape, target, allow_zero)
        for shape, target in zip(call.value().shapes, targets, strict=True)
    ]
    return Step(Reshape(_following(call, shapes)))


def _resolved(
    call: Call, shape: tuple[int, ...], target: tuple[int, ...], allow_zero: bool
) -> tuple[int, ...]:
    """The target without 0 (as in the input) and -1 (the rest)."""
    if any(
        size < -1 or (size == 0 and not allow_zero and dim >= len(shape))
        for dim, size in enumerate(target)
    ):
        call.damaged(f"its shape is {list(target)}")
    sizes = [shape[d] if n == 0 and not allow_zero else n for d, n in enumerate(target)]
    rest = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and rest and math.prod(shape) % rest == 0:
        sizes[sizes.index(-1)] = math.prod(shape) // rest
    if math.prod(sizes) != math.prod(shape) or -1 in sizes:
        call.damaged(f"its input of {shape} does not fit the shape {list(target)}")
    return tuple(sizes)


def _following(call: Call, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """One target for all batch sizes: -1 for the size that follows the batch."""
    columns = list(zip(*shapes, strict=True)) if len({len(s) for s in shapes}) == 1 else None
    if columns is None or sum(len(set(column)) > 1 for column in columns) > 1:
        call.unsupported(f"more than one size follows the batch: {[list(s) for s in shapes]}")
    return tuple(column[0] if len(set(column)) == 1 else -1 for column in columns)


def _flatten(call: Call) -> Step:
    axis = call.integer("axis", 1)
    if not -call.rank() <= axis <= call.rank():
        call.damaged(f"its axis {axis} is outside {call.rank()} dimensions")
    axis = axis + call.rank() if axis < 0 else axis
    if axis == 1 and call.rank() > 1:
        return Step(nn.Flatten())
    shapes = [(math.prod(s[:axis]), math.prod(s[axis:])) for s in call.value().shapes]
    return Step(Reshape(_following(call, shapes)))


def _transpose(call: Call) -> Step:
    order = call.attribute_integers("perm")
    if order is None:
        order = tuple(reversed(range(call.rank())))
    if sorted(order) != list(range(call.rank())):
        call.damaged(f"its perm {list(order)} does not fit {call.rank()} dimensions")
    if order == tuple(range(call.rank())):
        return Step(nn.Identity())
    return Step(Permute(order))


def _squeeze(call: Call) -> Step:
    named = call.axes_since(13)
    if named is None:
        shapes = call.value().shapes
        if call.one_sample:
            shapes = ((1, *shapes[0][1:]),)
        named = tuple(d for d in range(call.rank()) if all(shape[d] == 1 for shape in shapes))
    axes = call.axes(named)
    if any(shape[axis] != 1 for axis in axes for shape in call.value().shapes):
        call.damaged(f"it squeezes axes {list(axes)} of {call.shape()}")
    return Step(Squeeze(axes))


def _unsqueeze(call: Call) -> Step:
    named = call.axes_since(13)
    if named is None:
        call.damaged("its axes are missing")
    return Step(Unsqueeze(tuple(sorted(call.axes(named, call.rank() + len(named))))))


def _concat(call: Call) -> Step:
    axis = call.axis(call.integer("axis", 0))
    count = len(call.inputs)
    return Step(Concat(axis), tuple(range(count))) if count > 1 else Step(nn.Identity())


def _split(call: Call) -> Step:
    axis = call.axis(call.integer("axis", 0))
    length, pieces = call.fixed(axis), len(call.node.outputs)
    named = call.integers(1, "split") if call.opset >= 13 else call.attribute_integers("split")
    if named is None:
        size = -(-length // call.integer("num_outputs", pieces) or 1)
        named = tuple(max(0, min(size, length - size * i)) for i in range(pieces))
    if len(named) != pieces or sum(named) != length or min(named) < 0:
        call.damaged(f"it splits {length} into {list(named)} for {pieces} outputs")
    return Step(Split(named, axis)) if pieces > 1 else Step(nn.Identity())


def _slice(call: Call) -> Step:
    starts, ends = call.integers(1, "starts"), call.integers(2, "ends")
    if starts is None or ends is None:
        call.damaged("its starts or ends are missing")
    axes = call.integers(3, "axes") or tuple(range(len(starts)))
    steps = call.integers(4, "steps") or (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        call.damaged("its starts, ends, axes and steps do not fit each other")
    cuts = []
    for axis, start, end, step in zip(call.axes(axes), starts, ends, steps, strict=True):
        if call.value().follows_batch(axis):
            _check_keeps_all(call, start, end, step)
        else:
            cuts.append((axis, *_clamped(call.shape()[axis], start, end, step)))
    return Step(Slice(tuple(cuts)))


def _check_keeps_all(call: Call, start: int, end: int, step: int) -> None:
    if (start, step) != (0, 1) or end < _ALL:
        call.unsupported("it takes a part of the batch")


def _clamped(length: int, start: int, end: int, step: int) -> tuple[int, int, int]:
    """Start and end counted from the front, as the standard clamps them."""
    start, end = (n + length if n < 0 else n for n in (start, end))
    low, high = (0, length) if step > 0 else (-1, length - 1)
    return min(max(start, low if step > 0 else 0), high), min(max(end, low), high), step


def _gather(call: Call) -> Step:
    axis = call.axis(call.integer("axis", 0))
    data, indices = call.value(0), call.value(1)
    if indices.known:
        return _gather_at(call, axis)
    table = data.constant
    if table is not None and table.dim() == 2 and axis == 0 and table.is_floating_point():
        layer = nn.Embedding(table.shape[0], table.shape[1], device="meta")
        layer.weight = call.parameter(0, "table")
        return Step(layer, (1,))
    return Step(Gather(axis), (0, 1))


def _gather_at(call: Call, axis: int) -> Step:
    indices = call.constant(1, "indices")
    if call.value().follows_batch(axis):
        call.unsupported("it takes a part of the batch")
    length = call.shape()[axis]
    if indices.is_floating_point() or bool(((indices < -length) | (indices >= length)).any()):
        call.damaged(f"its indices are outside a dimension of {length}")
    if indices.dim() == 0:
        return Step(Select(axis, int(indices) % length))
    return Step(Take(axis, indices.long() % length))


def _expand(call: Call) -> Step | Known:
    wanted = call.value(1)
    if not wanted.known:
        call.unsupported("its shape is computed from values of the input")
    shapes = [
        _broadcast(call, shape, tuple(int(n) for n in target.reshape(-1).tolist()))
        for shape, target in zip(call.value().shapes, wanted.tensors, strict=True)
    ]
    if call.value().known:
        pairs = zip(call.value().tensors, shapes, strict=True)
        return Known(call.evaluator.made(tuple(t.expand(shape) for t, shape in pairs)))
    new = len(shapes[0]) - call.rank()
    sizes = []
    for dim, column in enumerate(zip(*shapes, strict=True)):
        kept = dim >= new and call.value().follows_batch(dim - new)
        if len(set(column)) > 1 and not kept:
            call.unsupported("it repeats values as often as there are samples")
        sizes.append(-1 if kept else column[0])
    return Step(Expand(tuple(sizes)))


def _broadcast(call: Call, shape: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return tuple(torch.broadcast_shapes(shape, target))
    except RuntimeError:
        call.damaged(f"its input of {shape} cannot be expanded to {target}")


def _shape(call: Call) -> Known:
    rank = call.rank()
    start, end, _ = _clamped(rank, call.integer("start", 0), call.integer("end", rank), 1)
    return per_probe(call, lambda shape: integer_tensor(shape[start:end]))


def _size(call: Call) -> Known:
    return per_probe(call, lambda shape: integer_tensor(math.prod(shape)))


class Reshape(nn.Module):
    """Another shape; -1 is the size that follows the batch."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """As many elements as in the new shape."""
        return x.reshape(self.shape)

    def extra_repr(self) -> str:
        """The shape, for printing."""
        return f"{self.shape}"


class Permute(nn.Module):
    """Dimensions in another order."""

    def __init__(self, order: tuple[int, ...]) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        """As many dimensions as in the order."""
        return x.permute(self.order)

    def extra_repr(self) -> str:
        """The order, for printing."""
        return f"{self.order}"


class Squeeze(nn.Module):
    """Drops dimensions of one element."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        """One element in each of the axes."""
        return x.squeeze(self.axes)


class Unsqueeze(nn.Module):
    """Adds dimensions of one element, at these places of the result."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        for axis in self.axes:
            x = x.unsqueeze(axis)
        return x


class Concat(nn.Module):
    """Tensors one behind the other."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *tensors: Tensor) -> Tensor:
        """The same shape but for the axis."""
        return torch.cat(tensors, self.axis)


class Split(nn.Module):
    """One tensor in pieces."""

    def __init__(self, sizes: tuple[int, ...], axis: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.axis = axis

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The sum of the sizes along the axis."""
        return torch.split(x, list(self.sizes), self.axis)


class Slice(nn.Module):
    """A part of a tensor.

    Args:
        cuts: (axis, start, end, step), counted from the front; a negative step runs backwards and
            its end may be -1.
    """

    def __init__(self, cuts: tuple[tuple[int, int, int, int], ...]) -> None:
        super().__init__()
        self.cuts = cuts

    def forward(self, x: Tensor) -> Tensor:
        """Any shape that the cuts fit."""
        for axis, start, end, step in self.cuts:
            if step < 0:
                # From the back, because torch has no negative steps.
                last = x.shape[axis] - 1
                x = x.flip(axis)
                start, end = last - start, last - end
            x = x[(*[slice(None)] * axis, slice(start, max(start, end), abs(step)))]
        return x


class Select(nn.Module):
    """One element of a dimension, which is dropped."""

    def __init__(self, axis: int, index: int) -> None:
        super().__init__()
        self.axis, self.index = axis, index

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return x.select(self.axis, self.index)


class Take(nn.Module):
    """Elements of a dimension at constant places, in the shape of the indices."""

    indices: Tensor

    def __init__(self, axis: int, indices: Tensor) -> None:
        super().__init__()
        self.axis = axis
        self.shape = tuple(indices.shape)
        self.register_buffer("indices", indices.reshape(-1))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        taken = x.index_select(self.axis, self.indices)
        return taken if len(self.shape) == 1 else taken.unflatten(self.axis, self.shape)


class Gather(nn.Module):
    """Elements of a dimension at places that are computed, negative ones from the end."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor, indices: Tensor) -> Tensor:
        """Any shapes; the indices' takes the place of the axis."""
        places = indices.reshape(-1)
        taken = x.index_select(
            self.axis, torch.where(places < 0, places + x.shape[self.axis], places)
        )
        return taken.reshape(x.shape[: self.axis] + indices.shape + x.shape[self.axis + 1 :])


class Expand(nn.Module):
    """Repeats dimensions of one element; -1 keeps one as it is."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """What broadcasts to the shape."""
        return x.expand(self.shape)


BUILDERS: dict[str, Builder] = {
    "Concat": _concat,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""By ONNX operator."""
