"""ZigZag (KU Leuven) for accelerators that are described to it: array, memories, energies.

Mei et al., IEEE Transactions on Computers 2021. It looks for the best order of a layer's loops on
the accelerator and counts the accesses of each memory; weights and activations have any width.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sigmaquant.devices.estimators.protocol import Estimate, OperatorEstimate, PlannedNetwork
from sigmaquant.errors import DeviceError, MissingExtraError, UnsupportedError
from sigmaquant.layers import LayerSpec, LayerTable

# ZigZag's own examples of accelerators, each with its example of a mapping.
_MAPPINGS = {
    "edge_tpu_like": "edge_tpu_like",
    "tpu_like": "tpu_like",
    "tesla_npu_like": "tesla_npu_like",
    "ascend_like": "ascend_like",
    "meta_prototype": "meta_prototype_like",
}
_PROGRAM = Path(__file__).with_name("zigzag_program.py")
_LONGEST_S = 3600
_UJ_PER_PJ = 1e-6
_LOOPS = ["B", "K", "G", "OX", "OY", "C", "FX", "FY"]
_EQUATION = "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]"


class ZigZag:
    """ZigZag's estimation, of layers with weights; what lies between them is left out."""

    def targets(self) -> tuple[str, ...]:
        """Its examples; the path of a description works too."""
        return tuple(_MAPPINGS)

    def estimate(
        self, model: Path | PlannedNetwork, target: str, mhz: float | None = None
    ) -> Estimate:
        """As ``Estimator.estimate``; the model is a network with its plan, and the clock is needed.

        A description ``accelerator.yaml`` has its mapping beside it, ``accelerator.mapping.yaml``.
        """
        if not isinstance(model, PlannedNetwork):
            raise UnsupportedError(
                f"{model}: ZigZag takes a captured network and its plan, no file"
            )
        if importlib.util.find_spec("zigzag") is None:
            raise MissingExtraError("an estimate for a described accelerator", "zigzag")
        accelerator, mapping = _described(target)
        if mhz is None:
            raise DeviceError(f"{target} is described in cycles: say at how many MHz it runs")
        layers = [workload_layer(layer, model) for layer in model.table.layers]
        costs = _distinct_costs(layers, accelerator, mapping)
        return _estimate(model.table, target, mhz, costs)


def workload_layer(layer: LayerSpec, model: PlannedNetwork) -> dict[str, Any]:
    """A layer as ZigZag describes them: a convolution, of which a linear layer is one of 1 x 1.

    Places where a layer is used are samples of a batch, and so are vectors of a linear layer.
    """
    plan = model.plan
    outputs_y, outputs_x, stride_y, stride_x, kernel_y, kernel_x = _window(layer)
    batch = layer.executed_macs // (layer.weights * outputs_y * outputs_x)
    input_bits = max(plan.activation_bits[group] for group in layer.input_groups)
    group = layer.output_group
    sizes = (
        *(batch, layer.channels // layer.groups, layer.groups, outputs_x, outputs_y),
        *(layer.weight_shape[1], kernel_x, kernel_y),
    )
    return {
        "id": 0,
        "name": layer.name,
        "operator_type": "Conv",
        "equation": _EQUATION,
        "dimension_relations": [f"ix={stride_x}*ox+1*fx", f"iy={stride_y}*oy+1*fy"],
        "loop_dims": _LOOPS,
        "loop_sizes": [int(size) for size in sizes],
        "operand_precision": {
            "W": plan.weight_bits[layer.name],
            "I": input_bits,
            "O_final": input_bits if group is None else plan.activation_bits[group],
        },
        "operand_source": {},
    }


def _window(layer: LayerSpec) -> tuple[int, ...]:
    """Vertical and horizontal: size of the output, stride, size of the kernel.

    The record has no strides; they follow from the sizes, up to the padding.
    """
    kernel = layer.weight_shape[2:]
    if not kernel:
        return (1,) * 6
    after, before = layer.output_shape[1:], layer.input_shape[1:]
    stride = [max(1, round(b / a)) for b, a in zip(before, after, strict=True)]
    pairs = ((1,) * (2 - len(kernel)) + tuple(each) for each in (after, stride, kernel))
    return tuple(number for pair in pairs for number in pair)


def _described(target: str) -> tuple[Path, Path]:
    """The files of an accelerator and its mapping."""
    if target.endswith((".yaml", ".yml")):
        accelerator = Path(target)
        mapping = accelerator.with_suffix(f".mapping{accelerator.suffix}")
    elif target in _MAPPINGS:
        found = importlib.util.find_spec("zigzag")
        assert found is not None, "the caller has looked"
        assert found.origin is not None, "a package has a file"
        inputs = Path(found.origin).with_name("inputs")
        accelerator = inputs / "hardware" / f"{target}.yaml"
        mapping = inputs / "mapping" / f"{_MAPPINGS[target]}.yaml"
    else:
        near = difflib.get_close_matches(target, _MAPPINGS, n=1, cutoff=0.0)
        raise DeviceError(
            f"ZigZag has no example {target!r}; did you mean {near[0]!r}? The path of a .yaml file "
            "works too"
        )
    for file in (accelerator, mapping):
        if not file.is_file():
            raise DeviceError(f"{file}: there is no such file; {target} needs it")
    return accelerator, mapping


def _distinct_costs(
    layers: Sequence[dict[str, Any]], accelerator: Path, mapping: Path
) -> list[dict[str, float]]:
    """Energy and cycles of each layer; those that differ in name alone are asked for once."""
    kinds = [json.dumps({**layer, "name": "layer"}) for layer in layers]
    asked = list(dict.fromkeys(kinds))
    with tempfile.TemporaryDirectory() as folder:
        request, result = Path(folder) / "request.json", Path(folder) / "result.json"
        content = {
            "layers": [json.loads(kind) for kind in asked],
            "accelerator": str(accelerator.resolve()),
            "mapping": str(mapping.resolve()),
        }
        request.write_text(json.dumps(content), encoding="utf-8")
        _run(request, result, folder)
        found = dict(zip(asked, json.loads(result.read_text(encoding="utf-8")), strict=True))
    return [found[kind] for kind in kinds]


def _run(request: Path, result: Path, folder: str) -> None:
    # Without -P this module would stand in for the package that it is named after.
    command = [sys.executable, "-P", str(_PROGRAM), str(request), str(result)]
    try:
        ended = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UnsupportedError(f"ZigZag has not ended after {_LONGEST_S} s") from error
    if ended.returncode != 0:
        said = [
            line for line in ended.stderr.splitlines() if "Error" in line or "Exception" in line
        ]
        raise UnsupportedError(f"ZigZag failed; it said: {(said or ['nothing'])[-1]}")


def _estimate(
    table: LayerTable, target: str, mhz: float, costs: Sequence[dict[str, float]]
) -> Estimate:
    operators = tuple(
        OperatorEstimate(
            name=layer.name,
            operator=layer.kind,
            latency_ms=cost["cycles"] / (mhz * 1000),
            energy_uj=cost["energy_pj"] * _UJ_PER_PJ,
        )
        for layer, cost in zip(table.layers, costs, strict=True)
    )
    return Estimate(
        tool="ZigZag",
        target=target,
        latency_ms=math.fsum(each.latency_ms for each in operators),
        energy_uj=math.fsum(each.energy_uj or 0.0 for each in operators),
        operators=operators,
    )
