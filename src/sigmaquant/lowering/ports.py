"""Gives a program's inputs and outputs the names that they have where the network comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sigmaquant.lowering.program import IntegerProgram


def with_port_names(
    program: IntegerProgram, inputs: Sequence[str], outputs: Sequence[str]
) -> IntegerProgram:
    """The same program under other names of inputs and outputs.

    A value that is returned twice, or returned as it came in, keeps the name it has.
    """
    wanted = {**_pairs(program.outputs, outputs), **_pairs(program.inputs, inputs)}
    kept = set(program.values) - set(wanted)
    names = {old: new for old, new in wanted.items() if new not in kept}
    if len(set(names.values())) < len(names):
        return program

    def renamed(values: Sequence[str]) -> tuple[str, ...]:
        return tuple(names.get(name, name) for name in values)

    return replace(
        program,
        values={
            names.get(name, name): replace(value, name=names.get(name, name))
            for name, value in program.values.items()
        },
        operators=tuple(
            replace(each, inputs=renamed(each.inputs), output=names.get(each.output, each.output))
            for each in program.operators
        ),
        inputs=renamed(program.inputs),
        outputs=renamed(program.outputs),
    )


def _pairs(values: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    return dict(zip(values, names, strict=True)) if len(values) == len(names) else {}
