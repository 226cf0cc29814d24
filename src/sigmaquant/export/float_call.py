"""A float operator as the writers of every format read it: its arguments and its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from sigmaquant.errors import UnsupportedError
from sigmaquant.lowering.program import Argument, FloatOperator, IntegerProgram, Value


@dataclass(frozen=True)
class FloatCall:
    """A float operator of a program that is exported.

    Attributes:
        operator: what is called.
        program: what it is part of.
        format_name: what it is exported as, for messages.
    """

    operator: FloatOperator
    program: IntegerProgram
    format_name: str

    @property
    def output(self) -> Value:
        """The record of the operator's output."""
        return self.program.values[self.operator.output]

    def refuse(self, what: str) -> NoReturn:
        """Give up on the operator; ``what`` follows its name in the message."""
        raise UnsupportedError(
            f"{self.operator.name}: {self.operator.target} {what}; {self.format_name} export "
            "cannot express it"
        )

    def argument(self, index: int, name: str, default: Any = None) -> Any:
        """An argument given by its place in the operator's schema, or by keyword."""
        if index < len(self.operator.arguments):
            return self.operator.arguments[index]
        return self.operator.keywords.get(name, default)

    def source(self, index: int = 0) -> Value:
        """The record of the value behind a positional argument."""
        argument = self.operator.arguments[index]
        if not isinstance(argument, Argument):
            self.refuse("on a constant")
        return self.program.values[self.operator.inputs[argument.index]]

    def axis(self, dimension: int, rank: int | None = None) -> int:
        """A dimension counted from the front."""
        rank = 1 + len(self.source().shape) if rank is None else rank
        axis = dimension % rank
        if axis == 0:
            self.refuse("works along the batch dimension")
        return axis


def aten_key(operator: FloatOperator) -> str | None:
    """Name and overload of an ATen operator, such as ``softmax.int``; None for any other.

    ``relu_`` is ``relu`` that writes over its input, which a graph of values does not show.
    """
    namespace, _, rest = operator.target.partition(".")
    base, _, overload = rest.partition(".")
    return f"{base.removesuffix('_')}.{overload}" if namespace == "aten" else None
