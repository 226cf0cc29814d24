"""From a quantized network to its one integer record, and what that record computes.

Scales are settled here for the last time. Exporters write what the record holds, and the reference
in NumPy integers says what an exported file has to compute.
"""

from sigmaquant.lowering.lower import check_widths, lower
from sigmaquant.lowering.program import IntegerProgram
from sigmaquant.lowering.reference import run_reference, trace_reference
from sigmaquant.lowering.storage import load_program, save_program

__all__ = [
    "IntegerProgram",
    "check_widths",
    "load_program",
    "lower",
    "run_reference",
    "save_program",
    "trace_reference",
]
