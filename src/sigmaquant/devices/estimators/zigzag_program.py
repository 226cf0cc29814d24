"""Runs ZigZag in a process of its own: the one file that imports it, and nothing of this package.

``python -P zigzag_program.py REQUEST.json RESULT.json``. ZigZag changes the logging of the process
that it is in, and writes all it finds into a folder.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from pathlib import Path

_FULL_BITS = 32
_LOOPS = 4  # of the temporal mapping; 6, ZigZag's default, found the same in three times the time


def main(request: str, result: str) -> None:
    """Answer a request: layers, accelerator and mapping in; energy and cycles of each layer out."""
    from zigzag.api import get_hardware_performance_zigzag

    logging.disable(logging.CRITICAL)
    asked = json.loads(Path(request).read_text(encoding="utf-8"))
    accelerator, mapping = asked["accelerator"], asked["mapping"]
    sums = _sum_bits(accelerator)
    found = []
    for layer in asked["layers"]:
        layer["operand_precision"]["O"] = sums
        with tempfile.TemporaryDirectory() as folder:
            energy_pj, cycles, *_ = get_hardware_performance_zigzag(
                [layer],
                accelerator,
                mapping,
                opt="latency",
                dump_folder=folder,
                lpf_limit=_LOOPS,
                nb_spatial_mappings_generated=1,
                loma_show_progress_bar=False,
            )
        found.append({"energy_pj": float(energy_pj), "cycles": float(cycles)})
    Path(result).write_text(json.dumps(found), encoding="utf-8")


def _sum_bits(accelerator: str) -> int:
    """Width of partial sums: 32 bits, or what the smallest memory for them holds."""
    import yaml

    described = yaml.safe_load(Path(accelerator).read_text(encoding="utf-8"))
    sizes = [int(m["size"]) for m in described["memories"].values() if "O" in m["operands"]]
    return min(_FULL_BITS, *sizes)


if __name__ == "__main__":
    main(*sys.argv[1:])
