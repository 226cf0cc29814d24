"""A network with a bit plan applied: still a trainable ``nn.Module``, ready to be lowered.

``quantize`` needs calibration data and no training; ``finetune`` goes on from its result.
"""

from sigmaquant.quantized.network import QuantizedNetwork
from sigmaquant.quantized.post_training import ROUNDINGS, PlanQuantizer, check_rounding, quantize

__all__ = ["ROUNDINGS", "PlanQuantizer", "QuantizedNetwork", "check_rounding", "quantize"]
