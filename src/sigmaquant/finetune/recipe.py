"""How to train: every choice that is not data."""

from __future__ import annotations

from dataclasses import dataclass

from sigmaquant.errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    """Settings of one training run; see ``finetune`` for what each is for.

    Attributes:
        epochs: passes over the training data.
        learning_rate: at the start of the schedule, relative to the size of each parameter.
        seed: of torch's generator.

    Raises:
        ConfigError: a value out of range.
    """

    epochs: int = 5
    learning_rate: float = 0.001
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"epochs has to be at least 1, not {self.epochs}")
        if not 0 < self.learning_rate < 1:
            raise ConfigError(
                f"the learning rate has to lie between 0 and 1, not {self.learning_rate}"
            )
