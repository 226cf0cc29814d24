"""A float operator while it is written: its arguments, and the nodes it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from sigmaquant.errors import UnsupportedError
from sigmaquant.export.onnx.graph import GraphBuilder
from sigmaquant.export.onnx.sheet import Sheet
from sigmaquant.lowering.program import Argument, FloatOperator, Value


@dataclass(frozen=True)
class Call:
    """A float operator and the sheet it is written on."""

    sheet: Sheet
    operator: FloatOperator

    @property
    def graph(self) -> GraphBuilder:
        """Where the nodes go."""
        return self.sheet.graph

    @property
    def output(self) -> Value:
        """The record of the operator's output."""
        return self.sheet.value(self.operator.output)

    def refuse(self, what: str) -> NoReturn:
        """Give up on the operator; ``what`` follows its name in the message."""
        raise UnsupportedError(
            f"{self.operator.name}: {self.operator.target} {what}; ONNX export cannot express it"
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
        return self.sheet.value(self.operator.inputs[argument.index])

    def tensor(self, item: Any) -> str:
        """A value, an array or a number as a tensor."""
        if isinstance(item, Argument):
            return self.sheet.tensors[self.operator.inputs[item.index]]
        if not isinstance(item, np.ndarray | int | float):
            self.refuse(f"with the argument {item!r}")
        return self.graph.constant(np.asarray(item, np.float32))

    def input(self, index: int = 0) -> str:
        """A positional argument as a tensor."""
        return self.tensor(self.operator.arguments[index])

    def axis(self, dimension: int, rank: int | None = None) -> int:
        """A dimension counted from the front."""
        rank = 1 + len(self.source().shape) if rank is None else rank
        axis = dimension % rank
        if axis == 0:
            self.refuse("works along the batch dimension")
        return axis

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node on the way to the result."""
        return self.graph.add(kind, inputs, **attributes)

    def result(self, kind: str, *inputs: str, **attributes: Any) -> None:
        """The node that writes the operator's output."""
        name, output = self.operator.name, self.sheet.tensors[self.operator.output]
        self.graph.add(kind, inputs, name=name, output=output, **attributes)
