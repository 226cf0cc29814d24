"""How to train: every choice that is not data."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sigmaquant.errors import ConfigError
from sigmaquant.finetune.precision import Precision, trains_in_bfloat16


@dataclass(frozen=True)
class Recipe:
    """Settings of one training run; see ``finetune`` for what each is for.

    Attributes:
        epochs: passes over the training data.
        learning_rate: at the start of the schedule, relative to the size of what is moved.
        seed: of torch's generator.
        feature_weight: of the intermediate values' distance in the objective; 0 leaves them out.
        damping: of weights that oscillate between levels, 0 to 1.
        precision: of convolutions and matrix products.
        memory_bytes: that a step may take, or None.

    Raises:
        ConfigError: a value out of range.
    """

    epochs: int = 5
    learning_rate: float = 0.001
    seed: int = 0
    feature_weight: float = 0.0
    damping: float = 0.0
    precision: Precision = "float32"
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"epochs has to be at least 1, not {self.epochs}")
        if not 0 < self.learning_rate < 1:
            raise ConfigError(
                f"the learning rate has to lie between 0 and 1, not {self.learning_rate}"
            )
        if not 0 <= self.feature_weight < math.inf:
            raise ConfigError(
                f"the weight of features has to be 0 or more, not {self.feature_weight}"
            )
        if not 0 <= self.damping <= 1:
            raise ConfigError(f"the damping has to lie between 0 and 1, not {self.damping}")
        trains_in_bfloat16(self.precision)

    def digest_text(self) -> str:
        """All that decides the result, in words: "auto" as what it means on this machine."""
        settled: Precision = "bfloat16" if trains_in_bfloat16(self.precision) else "float32"
        return repr(replace(self, precision=settled))
