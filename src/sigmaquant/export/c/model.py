"""``model.c`` and ``model.h``: the tables of a network and the function that runs it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from sigmaquant._version import __version__
from sigmaquant.export.c.arena import Arena, plan_arena
from sigmaquant.export.c.calls import write_call
from sigmaquant.export.c.literals import comment, identifier
from sigmaquant.export.c.manifest import Manifest, Port, Step
from sigmaquant.export.c.schedule import Call, Schedule, Tensor, schedule
from sigmaquant.export.c.sheet import Sheet
from sigmaquant.export.c.tails import TAIL_TOLERANCE
from sigmaquant.export.c.values import BYTE_BITS
from sigmaquant.lowering.program import Convolution, IntegerProgram, Linear

MARK = f"/* Written by SigmaQuant {__version__}"
"""How the files that this package writes begin, up to the version."""


@dataclass(frozen=True)
class Model:
    """A network as C text, and what it needs.

    Attributes:
        header, source: content of ``model.h`` and ``model.c``.
        plan: the calls, in order; each is a step of ``model.c``.
        manifest: what it is and needs.
        sources: names of the kernels' files.
        widths: (template, bits) of kernels made for one width.
        packs_values: whether values of fewer than 8 bits share bytes.
    """

    header: str
    source: str
    plan: Schedule
    manifest: Manifest
    sources: tuple[str, ...]
    widths: tuple[tuple[str, int], ...]
    packs_values: bool


def build_model(program: IntegerProgram, weight_scratch_bytes: int = 0) -> Model:
    """The program as C text.

    Args:
        program: what it computes.
        weight_scratch_bytes: RAM that one layer's weights may be unpacked to, where that is faster;
            of a device it is ``reserve.weight_scratch_bytes``.

    Raises:
        UnsupportedError: an operator that no kernel computes exactly; names it and its place.
    """
    plan = schedule(program)
    arena = plan_arena(plan)
    parameters = parameter_names(plan)
    places = {name: f"arena + {offset}" for name, offset in arena.offsets.items()}
    sheet = Sheet({**places, **parameters}, weight_scratch_bytes)
    statements: list[str] = []
    for index, call in enumerate(plan.calls):
        write_call(sheet, call)
        statements += [_place(call), *sheet.statements, _step_done(index, call, sheet)]
        sheet.statements.clear()
    signature = _signature(plan, parameters)
    manifest = _manifest(program, plan, arena, sheet)
    return Model(
        header=_header(plan, parameters, signature, manifest),
        source=_source(signature, sheet.definitions, statements),
        plan=plan,
        manifest=manifest,
        sources=tuple(sorted(sheet.sources)),
        widths=tuple(sorted(sheet.widths)),
        packs_values=any(
            tensor.bits < BYTE_BITS for call in plan.calls for tensor in (*call.inputs, call.output)
        ),
    )


def parameter_names(plan: Schedule) -> dict[str, str]:
    """The C name of each buffer that belongs to the caller."""
    names: dict[str, str] = {}
    for kind, tensors in (("input", plan.inputs), ("output", plan.outputs)):
        for tensor in tensors:
            name = f"{kind}_{identifier(tensor.value.name)}"
            while name in names.values():
                name += "_"
            names[tensor.buffer] = name
    return names


def _place(call: Call) -> str:
    return comment(f"{call.operator.name} ({type(call.operator).__name__})")


def _step_done(index: int, call: Call, sheet: Sheet) -> str:
    return f"MODEL_STEP_DONE({index}, {sheet.place(call.output)}, {call.output.bytes});"


def _signature(plan: Schedule, parameters: dict[str, str]) -> str:
    inputs = [f"const float *{parameters[t.buffer]}" for t in plan.inputs]
    outputs = [f"float *{parameters[t.buffer]}" for t in plan.outputs]
    return f"void model_run({', '.join((*inputs, *outputs))})"


def _manifest(program: IntegerProgram, plan: Schedule, arena: Arena, sheet: Sheet) -> Manifest:
    return Manifest(
        network=program.network,
        inputs=tuple(Port(name=t.value.name, shape=t.value.shape) for t in plan.inputs),
        outputs=tuple(Port(name=t.value.name, shape=t.value.shape) for t in plan.outputs),
        weight_bits={weights.layer: weights.bits for weights in program.weights},
        table_bytes=sheet.table_bytes,
        arena_bytes=arena.size_bytes,
        live_bytes=arena.live_bytes,
        scratch_bytes=sheet.scratch_bytes,
        kernels=dict(sorted(sheet.kernels.items())),
        tolerance=TAIL_TOLERANCE if "sq_softmax" in sheet.kernels else 0.0,
        steps=tuple(_step(call) for call in plan.calls),
    )


def _step(call: Call) -> Step:
    operator = call.operator
    layer = operator.weights.layer if isinstance(operator, Convolution | Linear) else None
    return Step(name=operator.name, operator=type(operator).__name__, layer=layer)


def _header(plan: Schedule, parameters: dict[str, str], signature: str, manifest: Manifest) -> str:
    about = [
        f" * {identifier(manifest.network)}: one sample in, one sample out. Not reentrant.",
        " *",
        " * All tensors are float32, row by row, in the order of the network's own dimensions:",
        " * an image of (channels, height, width) begins with the first row of its first channel.",
        " *",
        *(f" * {parameters[t.buffer]}: {_shape(t)}" for t in (*plan.inputs, *plan.outputs)),
    ]
    sizes = [
        f"#define {parameters[t.buffer].upper()}_FLOATS {math.prod(t.value.shape)}"
        for t in (*plan.inputs, *plan.outputs)
    ]
    return _lines(
        f"{MARK}.",
        " *",
        *about,
        " */",
        "#ifndef MODEL_H",
        "#define MODEL_H",
        "",
        *sizes,
        "",
        f"#define MODEL_TABLE_BYTES {manifest.table_bytes} /* weights and other constants */",
        f"#define MODEL_ARENA_BYTES {max(manifest.arena_bytes, 1)} /* values between operators */",
        f"#define MODEL_SCRATCH_BYTES {max(manifest.scratch_bytes, 1)} /* of one operator */",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        f"{signature};",
        "",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "",
        "#endif",
    )


def _shape(tensor: Tensor) -> str:
    shape = " x ".join(map(str, tensor.value.shape)) or "1"
    return f"{shape} ({identifier(tensor.value.name)})"


def _source(signature: str, definitions: Iterable[str], statements: Iterable[str]) -> str:
    return _lines(
        f"{MARK}. */",
        '#include "model.h"',
        "",
        '#include "kernels/sq_kernels.h"',
        "",
        "/* Called after each step with its number, its result and the result's size in bytes. */",
        "#ifndef MODEL_STEP_DONE",
        "#define MODEL_STEP_DONE(step, result, bytes) ((void)0)",
        "#endif",
        "",
        *(f"{definition}\n" for definition in definitions),
        "static union {",
        "    uint8_t bytes[MODEL_ARENA_BYTES];",
        "    uint32_t word;",
        "} memory;",
        "",
        "static union {",
        "    int16_t numbers[(MODEL_SCRATCH_BYTES + 1) / 2];",
        "    void *pointer;",
        "} scratch;",
        "",
        signature,
        "{",
        "    uint8_t *const arena = memory.bytes;",
        "    (void)arena;",
        "    (void)scratch;",
        *(f"    {statement}" for statement in statements),
        "}",
    )


def _lines(*lines: str) -> str:
    return "\n".join(lines) + "\n"
