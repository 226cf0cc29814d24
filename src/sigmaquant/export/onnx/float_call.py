"""A float operator while it is written: its arguments, and the nodes it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sigmaquant.export.float_call import FloatCall
from sigmaquant.export.onnx.graph import GraphBuilder
from sigmaquant.export.onnx.sheet import Sheet
from sigmaquant.lowering.program import Argument


@dataclass(frozen=True)
class Call(FloatCall):
    """A float operator and the sheet it is written on."""

    sheet: Sheet

    @property
    def graph(self) -> GraphBuilder:
        """Where the nodes go."""
        return self.sheet.graph

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

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node on the way to the result."""
        return self.graph.add(kind, inputs, **attributes)

    def result(self, kind: str, *inputs: str, **attributes: Any) -> None:
        """The node that writes the operator's output."""
        name, output = self.operator.name, self.sheet.tensors[self.operator.output]
        self.graph.add(kind, inputs, name=name, output=output, **attributes)
