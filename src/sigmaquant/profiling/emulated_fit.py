"""From cycles of emulated kernels to the coefficients of the latency model "cycles"."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sigmaquant.costs.cycles import USUAL_WINDOW, Tile, kernel_work
from sigmaquant.devices.evidence import Evidence
from sigmaquant.devices.latency_models import ElementCycles, KernelCycles, UnpackFirst
from sigmaquant.export.c.packing import BLOCK, gathered_elements
from sigmaquant.export.c.values import BYTE_BITS
from sigmaquant.layers import WIDTHS, LayerKind
from sigmaquant.profiling.emulated_grid import LayerCase, OperatorCase
from sigmaquant.profiling.nonnegative_fit import nonnegative_fit
from sigmaquant.profiling.profiled import FittedRow, readable
from sigmaquant.profiling.relative_fit import FloatArray, relative_fit

LayerCycles = Mapping[LayerCase, int]
OperatorCycles = Mapping[OperatorCase, int]


@dataclass(frozen=True)
class _Terms:
    """What a kernel is paid for; a linear layer has one row, which is its use.

    Attributes:
        tile: what is computed at once, but for what depends on the width.
        by_width: each weight width has its own figure.
        shared: all have the same.
    """

    tile: Tile
    by_width: tuple[str, ...]
    shared: tuple[str, ...]

    def row(self, case: LayerCase) -> list[float]:
        """The amount of each, width by width, then of what is shared."""
        stored_bits = case.chain.weight_bits
        read_bits = BYTE_BITS if case.unpacks_first else stored_bits
        tile = dataclasses.replace(self.tile, tail_block=_TAIL_BLOCKS[read_bits])
        work = kernel_work(case.layer, tile)
        own = [
            getattr(work, term) * (read_bits == bits) for term in self.by_width for bits in WIDTHS
        ]
        unpacked = work.weights if case.unpacks_first else 0.0
        own += [unpacked * (stored_bits == bits) for bits in WIDTHS]
        return [*own, *(getattr(work, term) for term in self.shared)]


_TAIL_BLOCKS = {bits: gathered_elements(1, bits) for bits in WIDTHS}
_UNPACKING = "unpacked weights"
_DOT_PRODUCTS = ("block_macs", "tail_macs")
_TERMS = {
    LayerKind.CONV: _Terms(
        Tile(block=BLOCK, places=2),
        _DOT_PRODUCTS,
        ("patch_elements", "patch_rows", "unaligned_rows", "requantized_outputs", "uses"),
    ),
    LayerKind.LINEAR: _Terms(
        Tile(block=BLOCK, rows=2),
        (*_DOT_PRODUCTS, "odd_row_macs"),
        ("patch_elements", "requantized_outputs", "float_outputs", "uses"),
    ),
    # Those of one size of window have as many products for each output: these tell all of it.
    LayerKind.DEPTHWISE_CONV: _Terms(
        Tile(window=USUAL_WINDOW),
        ("weights",),
        ("block_macs", "other_window_macs", "patch_rows", "uses"),
    ),
}


@dataclass(frozen=True)
class _Samples:
    """Layers of one kind, what they do, and what they took."""

    terms: _Terms
    cases: tuple[LayerCase, ...]
    work: FloatArray
    cycles: FloatArray

    def errors(self) -> FloatArray:
        """Relative, of the fit to all."""
        predicted = self.work @ nonnegative_fit(self.work, self.cycles)
        relative: FloatArray = predicted / self.cycles - 1
        return relative

    def left_out(self) -> FloatArray:
        """Relative, of a fit that has not seen the layer's shape at any width."""
        errors = np.empty(len(self.cases))
        names = np.array([case.name for case in self.cases])
        for name in dict.fromkeys(names):
            out = names == name
            found = nonnegative_fit(self.work[~out], self.cycles[~out])
            errors[out] = self.work[out] @ found / self.cycles[out] - 1
        return errors


def kernel_cycles(measured: LayerCycles, kind: LayerKind, source: str) -> KernelCycles:
    """The coefficients of one kind of layer.

    Args:
        measured: cycles of layers of all kinds, each shape at every weight width.
        kind: which.
        source: how they were counted.
    """
    samples = _of_kind(measured, kind)
    by_width, shared = _coefficients(samples)
    unpacking = {bits: cycles for bits, cycles in by_width[_UNPACKING].items() if cycles}
    if "block_macs" in shared:
        by_width["block_macs"] = dict.fromkeys(WIDTHS, shared["block_macs"])
    return KernelCycles(
        source=f"{source}; {_accuracy(samples)}",
        kind=Evidence.EMULATED,
        cycles_per_mac=by_width["block_macs"],
        cycles_per_tail_mac=by_width.get("tail_macs", {}),
        cycles_per_odd_row_mac=by_width.get("odd_row_macs", {}),
        cycles_per_other_window_mac=shared.get("other_window_macs"),
        dot_product_block=samples.terms.tile.block,
        tail_block=_TAIL_BLOCKS if "tail_macs" in by_width else {},
        places_at_once=samples.terms.tile.places,
        cycles_per_patch_element=shared.get("patch_elements", 0.0),
        cycles_per_patch_row=shared.get("patch_rows", 0.0),
        cycles_per_unaligned_row=shared.get("unaligned_rows", 0.0),
        cycles_per_output=shared.get("requantized_outputs", 0.0),
        cycles_per_float_output=shared.get("float_outputs"),
        cycles_per_weight=by_width.get("weights", {}),
        cycles_per_layer=shared["uses"],
        unpack_first=_unpack_first(unpacking, source),
    )


def _unpack_first(unpacking: dict[int, float], source: str) -> UnpackFirst | None:
    if not unpacking:
        return None
    how = f"{source}: weights expanded to bytes in RAM, then the kernel for 8 bits"
    return UnpackFirst(source=how, kind=Evidence.EMULATED, cycles_per_weight=unpacking)


def layer_rows(measured: LayerCycles) -> tuple[FittedRow, ...]:
    """For each shape the width at which it is missed most when it is left out."""
    rows: dict[str, FittedRow] = {}
    for kind in _TERMS:
        samples = _of_kind(measured, kind)
        for case, *figures in zip(
            samples.cases, samples.cycles, samples.errors(), samples.left_out(), strict=True
        ):
            row = FittedRow(f"{case.name}, {case.chain.weight_bits} bits", *map(float, figures))
            worst = rows.setdefault(case.name, row)
            rows[case.name] = max(worst, row, key=lambda each: abs(each.left_out))
    return tuple(rows.values())


def element_cycles(measured: OperatorCycles, quantized: bool, source: str) -> ElementCycles:
    """The coefficients of operators without weights: of each, and their mean for all others."""
    own = {case: cycles for case, cycles in measured.items() if case.quantized is quantized}
    names = tuple(dict.fromkeys(case.operator for case in own))
    by_operator = {
        name: _per_element({case: own[case] for case in own if case.operator == name})
        for name in names
    }
    return ElementCycles(
        source=f"{source}; {', '.join(names)}; others are taken for their mean",
        kind=Evidence.EMULATED,
        cycles_per_element=readable(sum(by_operator.values()) / len(names)),
        by_operator=by_operator,
    )


def _per_element(measured: OperatorCycles) -> float:
    elements = np.array([[float(case.elements)] for case in measured])
    (found,) = relative_fit(elements, np.array([float(cycles) for cycles in measured.values()]))
    return readable(found)


def _of_kind(measured: LayerCycles, kind: LayerKind) -> _Samples:
    own = {case: cycles for case, cycles in measured.items() if case.chain.kind is kind}
    terms = _TERMS[kind]
    work = np.array([terms.row(case) for case in own], float)
    return _Samples(terms, tuple(own), work, np.array([*own.values()], float))


def _coefficients(samples: _Samples) -> tuple[dict[str, dict[int, float]], dict[str, float]]:
    """By term and width, and by term for those that all widths share."""
    terms = samples.terms
    found = iter(nonnegative_fit(samples.work, samples.cycles).tolist())
    own = (*terms.by_width, _UNPACKING)
    by_width = {term: {bits: readable(next(found)) for bits in WIDTHS} for term in own}
    return by_width, {term: readable(next(found)) for term in terms.shared}


def _accuracy(samples: _Samples) -> str:
    errors = 100 * np.abs(samples.errors())
    shapes = len({case.chain.name for case in samples.cases})
    return (
        f"{shapes} shapes at every width, fit error {errors.mean():.1f} % on average, "
        f"{errors.max():.1f} % at most"
    )
