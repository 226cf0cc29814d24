"""A few epochs of quantization-aware training that win back what rounding lost.

Weights and step sizes are trained through fake quantization, with the float network as teacher, so
labels are optional. The result is never worse than the start on held-back data.
"""

from sigmaquant.finetune.augmentation import AugmentedBatches
from sigmaquant.finetune.training import finetune

__all__ = ["AugmentedBatches", "finetune"]
