from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from sigmaquant.network.runner import flatten
from tests import nets


def node_at(name: str, place: str) -> Node:
    (found,) = (n for n, p in nets.captured(name).places.items() if p == place)
    return found


def test_rerun_gives_what_a_full_run_with_the_changed_value_gives() -> None:
    network, inputs = nets.captured("pyramid"), nets.samples("pyramid")
    runner = network.runner()
    changed = node_at("pyramid", "b")

    def double(node: Node, value: Any) -> Any:
        return value * 2 if node is changed else value

    expected = runner.watch(inputs, double)
    values = runner.values(inputs)
    actual = runner.rerun(values, runner.behind(changed), {changed: values[changed] * 2})
    assert torch.equal(actual[0], expected[0])
    assert not torch.equal(actual[0], runner.outputs(values)[0])


def test_only_what_lies_behind_is_computed_anew() -> None:
    runner = nets.captured("pyramid").runner()
    places = nets.captured("pyramid").places
    behind = {places[n] for n in runner.behind(node_at("pyramid", "c")) if n in places}
    assert behind == {"add_2", "down", "add_3", "mean"}


def test_values_die_after_their_last_use() -> None:
    runner = nets.captured("mlp").runner()
    seen: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def watch(node: Node, value: Tensor) -> Tensor:
        alive.append(sum(ref() is not None for ref in seen))
        seen.append(weakref.ref(value))
        return value

    runner.watch((torch.ones(2, 6),), watch)
    assert max(alive) <= 2


def test_flatten_keeps_the_order_and_drops_what_is_no_tensor() -> None:
    a, b, c = torch.zeros(1), torch.ones(1), torch.full((1,), 2.0)
    assert flatten({"z": a, "y": [b, None, (c, 3)]}) == [a, b, c]
