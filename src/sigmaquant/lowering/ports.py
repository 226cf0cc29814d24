"""Gives a program's inputs and outputs the names that they have where the network comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sigmaquant.lowering.program import IntegerProgram


def with_port_names(
    program: IntegerProgram, inputs: Sequence[str], outputs: Sequence[str]
) -> IntegerProgram:
    """The same program under other names of inputs and outputs.

    An inner value of such a name gets another. The program stays as it is where one value would
    need two names: returned twice, or returned as it came in.
    """
    names = {**_pairs(program.outputs, outputs), **_pairs(program.inputs, inputs)}
    if len(set(names.values())) < len(names) or set(program.inputs) & set(program.outputs):
        return program
    taken = {*program.values, *names.values()}
    for inner in set(program.values) & set(names.values()) - set(names):
        names[inner] = _free(f"{inner}/inner", taken)

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


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _pairs(values: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    return dict(zip(values, names, strict=True)) if len(values) == len(names) else {}
