"""From times of chains to the coefficients of the latency model "cycles".

On a processor with caches and wide units this sum of costs is an approximation; how good a one is
told by the errors of rows that are left out of the fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sigmaquant.costs.cycles import kernel_work
from sigmaquant.devices.evidence import Evidence
from sigmaquant.devices.latency_models import ElementCycles, KernelCycles
from sigmaquant.layers import WIDTHS, LayerKind
from sigmaquant.profiling.host_chains import LayerChain, OperatorChain
from sigmaquant.profiling.profiled import FittedRow, readable, typical_percent
from sigmaquant.profiling.relative_fit import (
    FloatArray,
    fitted_errors,
    left_out_errors,
    relative_fit,
)

# Where each weight is used once, or each output gathers its own inputs, terms cannot be told apart.
_TERMS = {
    LayerKind.CONV: ("macs", "patch_elements", "outputs", "weights", "uses"),
    LayerKind.DEPTHWISE_CONV: ("macs", "outputs", "uses"),
    LayerKind.LINEAR: ("macs", "outputs", "uses"),
}


Chains = Mapping[LayerChain, float]
"""Microseconds of one link by chain."""


def layer_rows(times: Chains) -> tuple[FittedRow, ...]:
    """The rows of all kinds, each judged among its own kind."""
    rows: list[FittedRow] = []
    for kind in dict.fromkeys(chain.kind for chain in times):
        own = _of_kind(times, kind)
        rows += _rows([_described(chain) for chain in own], *_layer_arrays(own, kind))
    return tuple(rows)


def kernel_cycles(times: Chains, kind: LayerKind, mhz: float, source: str) -> KernelCycles:
    """The coefficients of one kind of layer, the same at every weight width.

    Args:
        times: of all kinds.
        kind: which.
        mhz: the clock by which times become cycles.
        source: how the times were measured.
    """
    own = _of_kind(times, kind)
    work, measured = _layer_arrays(own, kind)
    found = dict(zip(_TERMS[kind], relative_fit(work, measured * mhz), strict=True))
    typical = typical_percent(_rows(["" for _ in own], work, measured))
    per_weight = readable(found.get("weights", 0.0))
    return KernelCycles(
        source=f"{source}: medians of {len(own)} shapes; one left out is missed by {typical:g} %",
        kind=Evidence.MEASURED,
        cycles_per_mac=dict.fromkeys(WIDTHS, readable(found["macs"])),
        cycles_per_patch_element=readable(found.get("patch_elements", 0.0)),
        cycles_per_output=readable(found["outputs"]),
        cycles_per_weight=dict.fromkeys(WIDTHS, per_weight) if per_weight else {},
        cycles_per_layer=readable(found["uses"]),
    )


def operator_rows(times: Mapping[OperatorChain, float]) -> tuple[FittedRow, ...]:
    """The rows of operators without weights: integers and floats are fitted apart."""
    rows: list[FittedRow] = []
    for quantized in (True, False):
        own = {chain: us for chain, us in times.items() if chain.quantized is quantized}
        rows += _rows([chain.name for chain in own], *_operator_arrays(own))
    return tuple(rows)


def element_cycles(
    times: Mapping[OperatorChain, float], quantized: bool, mhz: float, source: str
) -> ElementCycles:
    """The coefficients of operators without weights."""
    own = {chain: us for chain, us in times.items() if chain.quantized is quantized}
    work, measured = _operator_arrays(own)
    per_element, per_call = relative_fit(work, measured * mhz)
    typical = typical_percent(_rows(["" for _ in own], work, measured))
    names = ", ".join(dict.fromkeys(chain.operator for chain in own))
    return ElementCycles(
        source=f"{source}: medians of {names} alike; one left out is missed by {typical:g} %",
        kind=Evidence.MEASURED,
        cycles_per_element=readable(per_element),
        cycles_per_call=readable(per_call),
    )


def _of_kind(times: Chains, kind: LayerKind) -> Chains:
    return {chain: us for chain, us in times.items() if chain.kind is kind}


def _described(chain: LayerChain) -> str:
    return f"{chain.name}, {chain.weight_bits} bits"


def _layer_arrays(times: Chains, kind: LayerKind) -> tuple[FloatArray, FloatArray]:
    works = [kernel_work(chain.layer) for chain in times]
    work = [[getattr(each, term) for term in _TERMS[kind]] for each in works]
    return np.array(work, float), np.array([*times.values()])


def _operator_arrays(times: Mapping[OperatorChain, float]) -> tuple[FloatArray, FloatArray]:
    work = [[chain.elements, 1.0] for chain in times]
    return np.array(work, float), np.array([*times.values()])


def _rows(names: Sequence[str], work: FloatArray, measured: FloatArray) -> list[FittedRow]:
    columns: Any = (measured, fitted_errors(work, measured), left_out_errors(work, measured))
    figures = zip(*(column.tolist() for column in columns), strict=True)
    return [FittedRow(name, *own) for name, own in zip(names, figures, strict=True)]
