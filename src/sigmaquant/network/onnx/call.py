"""One ONNX node as the builders of operators see it: its attributes, inputs and their shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import torch
from torch import Tensor, nn

from sigmaquant.errors import ModelError, UnsupportedError
from sigmaquant.network.onnx.records import OnnxNode
from sigmaquant.network.onnx.values import Evaluator, Value

MAX_ATTRIBUTE = 2**31 - 1


@dataclass(frozen=True)
class Step:
    """A module that does a node's work.

    Attributes:
        module: reads the inputs below, in this order, when the network runs.
        reads: positions of the node's inputs; the others are constants that the module holds.
        before: what is done to the only input first, where the module cannot.
        after: what is done to the only output.
    """

    module: nn.Module
    reads: tuple[int, ...] = (0,)
    before: nn.Module | None = None
    after: nn.Module | None = None

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The modules in the order in which they run."""
        return tuple(part for part in (self.before, self.module, self.after) if part is not None)


@dataclass(frozen=True)
class Known:
    """A result that is known at import: the tensor for each batch size that is probed."""

    tensors: tuple[Tensor, ...]


Parameters: TypeAlias = dict[tuple[str, bool], nn.Parameter]
"""By name in the file and whether transposed, so that tied weights stay tied."""


@dataclass(frozen=True)
class Call:
    """A node, and what is known of its inputs.

    Attributes:
        node: as in the file.
        inputs: by position; None where it is left out.
        opset: version of the standard operators.
        file: for messages.
        one_sample: the file fixes a batch of 1, and the network is imported for any.
        parameters: those made so far.
        evaluator: counts what is computed at import.
    """

    node: OnnxNode
    inputs: tuple[Value | None, ...]
    opset: int
    file: str
    one_sample: bool
    parameters: Parameters
    evaluator: Evaluator

    @property
    def where(self) -> str:
        """For messages: the file, the node, its operator and the opset."""
        return f"{self.file}: {self.node}, opset {self.opset}"

    def damaged(self, problem: str) -> NoReturn:
        """Refuse a node that no runtime could run."""
        raise ModelError(f"{self.where}: {problem}")

    def unsupported(self, problem: str) -> NoReturn:
        """Refuse a node that says something we cannot express; the text says what to do."""
        raise UnsupportedError(f"{self.where}: {problem}")

    # Inputs.

    def has(self, position: int) -> bool:
        """Whether an optional input is given."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def value(self, position: int = 0) -> Value:
        """An input that has to be there."""
        found = self.inputs[position] if position < len(self.inputs) else None
        if found is None:
            self.damaged(f"input {position} is missing")
        return found

    def shape(self, position: int = 0) -> tuple[int, ...]:
        """Of an input; dimensions that follow the batch are those of the first batch probed."""
        return self.value(position).shapes[0]

    def rank(self, position: int = 0) -> int:
        """Number of dimensions of an input."""
        return len(self.shape(position))

    def spatial_rank(self, least: int = 1, most: int = 3) -> int:
        """Number of dimensions behind batch and channels of the first input."""
        rank = self.rank() - 2
        if not least <= rank <= most:
            self.unsupported(
                f"its input has {self.rank()} dimensions; {least + 2} to {most + 2} are taken"
            )
        return rank

    def constant(self, position: int, what: str) -> Tensor:
        """An input that has to be known, the same for every batch size."""
        found = self.value(position).constant
        if found is None:
            self.unsupported(
                f"its {what} {self.value(position).name!r} is computed while the network runs; "
                "export the model so that it is a constant"
            )
        return found

    def optional(self, position: int, what: str) -> Tensor | None:
        """As ``constant``, where the input is given."""
        return self.constant(position, what) if self.has(position) else None

    def integers(self, position: int, what: str) -> tuple[int, ...] | None:
        """The numbers of an optional constant of at most one dimension."""
        found = self.optional(position, what)
        if found is None:
            return None
        if found.dim() > 1 or found.is_floating_point():
            self.damaged(f"its {what} is not a list of integers")
        return tuple(int(number) for number in found.reshape(-1).tolist())

    def parameter(self, position: int, what: str, *, transposed: bool = False) -> nn.Parameter:
        """A float constant as a trainable parameter, one for all nodes that read it."""
        key = (self.value(position).name, transposed)
        if key not in self.parameters:
            found = self.constant(position, what)
            if not found.is_floating_point():
                self.damaged(f"its {what} is {found.dtype}")
            oriented = found.t() if transposed else found
            self.parameters[key] = nn.Parameter(oriented.contiguous())
        return self.parameters[key]

    # Attributes.

    def integer(self, name: str, default: int) -> int:
        """An attribute that is one integer."""
        return int(self._attribute(name, default, int))

    def number(self, name: str, default: float) -> float:
        """An attribute that is one float."""
        return float(self._attribute(name, default, (int, float)))

    def text(self, name: str, default: str) -> str:
        """An attribute that is a string."""
        return str(self._attribute(name, default, str))

    def attribute_integers(self, name: str) -> tuple[int, ...] | None:
        """An attribute that is a list of integers, where it is given."""
        found = self.node.attributes.get(name)
        if found is None:
            return None
        if not isinstance(found, tuple) or not all(isinstance(item, int) for item in found):
            self.damaged(f"its {name} is not a list of integers")
        return tuple(int(item) for item in found)

    def per_dimension(self, name: str, count: int, default: int, *, least: int) -> tuple[int, ...]:
        """A list such as strides: one number, ``least`` or more, for each of ``count``."""
        found = self.attribute_integers(name)
        numbers = (default,) * count if found is None else found
        if len(numbers) != count or not all(least <= n <= MAX_ATTRIBUTE for n in numbers):
            self.damaged(f"its {name} is {list(numbers)}, not {count} numbers of {least} or more")
        return numbers

    def axis(self, number: int, rank: int | None = None) -> int:
        """An axis counted from the front, of the first input unless a rank is given."""
        rank = self.rank() if rank is None else rank
        if not -rank <= number < rank:
            self.damaged(f"axis {number} is outside a tensor of {rank} dimensions")
        return number % rank

    def axes(self, numbers: tuple[int, ...], rank: int | None = None) -> tuple[int, ...]:
        """Axes counted from the front, each named once."""
        found = tuple(self.axis(number, rank) for number in numbers)
        if len(set(found)) != len(found):
            self.damaged(f"axes {list(numbers)} name a dimension twice")
        return found

    def axes_since(self, opset: int, position: int = 1) -> tuple[int, ...] | None:
        """``axes``: an input since that opset, an attribute before; None where not given."""
        if self.opset >= opset:
            return self.integers(position, "axes")
        return self.attribute_integers("axes")

    def only_output(self, kept: int = 1) -> None:
        """Refuse a node whose further outputs are read."""
        if any(self.node.outputs[kept:]):
            self.unsupported(f"its outputs behind the first {kept} are not made")

    def fixed(self, dim: int, position: int = 0) -> int:
        """The size of a dimension that does not follow the batch."""
        if self.value(position).follows_batch(dim):
            self.unsupported(f"it works along dimension {dim}, which follows the batch")
        return self.shape(position)[dim]

    def _attribute(self, name: str, default: Any, kind: type | tuple[type, ...]) -> Any:
        found = self.node.attributes.get(name, default)
        if not isinstance(found, kind):
            self.damaged(f"its {name} is of another type than {type(default).__name__}")
        return found


Builder: TypeAlias = Callable[[Call], Step | Known]
"""What makes a step of a node; it raises ModelError or UnsupportedError with the node's place."""


def per_probe(call: Call, compute: Callable[[tuple[int, ...]], Tensor], position: int = 0) -> Known:
    """A result that depends on the shape of an input alone."""
    return Known(tuple(compute(shape) for shape in call.value(position).shapes))


def integer_tensor(numbers: tuple[int, ...] | int) -> Tensor:
    """As int64, the type of ONNX shapes."""
    return torch.tensor(numbers, dtype=torch.int64)
