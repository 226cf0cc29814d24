from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sigmaquant.export.c.arena import plan_arena
from sigmaquant.export.c.schedule import schedule
from sigmaquant.layers import WIDTHS
from sigmaquant.lowering.program import IntegerProgram

Builder = Any


@pytest.mark.parametrize("seed", range(40))
def test_buffers_that_are_needed_together_never_overlap(
    random_case: Callable[..., tuple[IntegerProgram, Any]], seed: int
) -> None:
    plan = schedule(random_case(seed, WIDTHS if seed % 2 else ())[0])
    arena = plan_arena(plan)
    owner = np.full(arena.size_bytes, "", object)
    for index, call in enumerate(plan.calls):
        for tensor in call.inputs:
            if tensor.buffer in arena.offsets:
                start = arena.offsets[tensor.buffer]
                assert set(owner[start : start + tensor.bytes]) == {tensor.buffer}, index
        if call.output.buffer in arena.offsets:
            start = arena.offsets[call.output.buffer]
            assert start % 4 == 0
            owner[start : start + call.output.bytes] = call.output.buffer
    assert arena.live_bytes <= arena.size_bytes <= 1.3 * arena.live_bytes


def test_two_values_of_a_chain_alternate(builder: Callable[..., Builder]) -> None:
    build = builder()
    value = build.quantize(build.input((8, 6, 6)))
    for _ in range(4):
        value = build.convolution(value, 8)
    arena = plan_arena(schedule(build.program(build.dequantize(value))))
    assert arena.size_bytes == arena.live_bytes == 2 * 8 * 36


def test_a_sum_is_written_over_a_summand_that_nothing_else_reads(
    builder: Callable[..., Builder],
) -> None:
    build = builder()
    value = build.quantize(build.input((8, 6, 6)))
    total = build.add(value, build.convolution(value, 8))
    output = build.dequantize(build.lookup(total))
    arena = plan_arena(schedule(build.program(output)))
    assert arena.size_bytes == 2 * 8 * 36


def test_a_value_that_is_read_again_keeps_its_memory(builder: Callable[..., Builder]) -> None:
    build = builder()
    value = build.quantize(build.input((8, 6, 6)))
    doubled = build.concat(value, build.clamp(value))
    arena = plan_arena(schedule(build.program(build.dequantize(doubled))))
    assert arena.size_bytes == 4 * 8 * 36


@pytest.mark.parametrize(("bits", "stored"), [(2, 2), (3, 4), (4, 4), (5, 8), (7, 8), (8, 8)])
def test_narrow_values_are_packed(builder: Callable[..., Builder], bits: int, stored: int) -> None:
    build = builder(activation_bits=bits)
    value = build.quantize(build.input((8, 6, 6)))
    arena = plan_arena(schedule(build.program(build.dequantize(build.convolution(value, 8)))))
    assert arena.size_bytes == 2 * 8 * 36 * stored // 8


@pytest.mark.parametrize(("source", "target", "size_bytes"), [(8, 4, 288), (4, 8, 144 + 288)])
def test_values_are_written_over_such_as_take_no_fewer_bits(
    builder: Callable[..., Builder], source: int, target: int, size_bytes: int
) -> None:
    build = builder(activation_bits=source)
    value = build.quantize(build.input((8, 6, 6)))
    build.activation_bits = target
    arena = plan_arena(schedule(build.program(build.dequantize(build.lookup(value)))))
    assert arena.size_bytes == size_bytes


def test_a_network_without_values_of_its_own_needs_no_arena(
    builder: Callable[..., Builder],
) -> None:
    build = builder()
    value = build.quantize(build.input((3,)))
    arena = plan_arena(schedule(build.program(build.dequantize(value))))
    assert arena.size_bytes == arena.live_bytes == 4
