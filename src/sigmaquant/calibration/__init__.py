"""What a small set of real inputs tells: activation ranges and the moments of layer inputs.

Data are checked once, where they enter; every later stage works on ``Batch``.
"""

from sigmaquant.calibration.batches import Batch, data_digest, read_batches, samples_of
from sigmaquant.calibration.check import check_calibration
from sigmaquant.calibration.ranges import activation_ranges

__all__ = [
    "Batch",
    "activation_ranges",
    "check_calibration",
    "data_digest",
    "read_batches",
    "samples_of",
]
