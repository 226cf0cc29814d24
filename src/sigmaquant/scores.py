"""The result of scoring: how much the loss rises when one layer or one tensor is quantized."""

from __future__ import annotations

import pydantic

from sigmaquant.artifact import Artifact, Frozen


class Score(Frozen):
    """Expected rise of the loss, in the loss's own unit (nats for KL), and its standard error."""

    rise: float
    standard_error: float = 0.0


class SensitivityTable(Artifact):
    """Scores of every layer and weight width, and of every precision group and activation width.

    Attributes:
        metric: what was measured, such as "loss".
        loss: the loss's name, such as "kl".
        rounding: how the candidates were rounded, as ``quantize`` calls it.
        float_loss: the float network's own loss on the same data (0 for KL to itself).
        samples: number of calibration samples.
        seed: of every random draw.
        inputs: hash of the network and the data that were scored.
        scores: by layer name, then by weight width.
        activation_scores: by precision group, then by activation width; empty where activations
            were not scored and therefore all keep one width.
        weight_sigmas: by layer name, the standard deviation of its weights times the square root
            of its fan-in; what the strategy "sigma" clusters.
        entropy_bits: by layer name and weight width, the entropy of one of its rounded weights:
            what it takes in an ideal code. Empty where the weights were not rounded in scoring.
    """

    metric: str
    loss: str
    rounding: str
    float_loss: float
    samples: int
    seed: int
    inputs: str
    scores: dict[str, dict[int, Score]]
    activation_scores: dict[str, dict[int, Score]] = pydantic.Field(default_factory=dict)
    weight_sigmas: dict[str, float] = pydantic.Field(default_factory=dict)
    entropy_bits: dict[str, dict[int, float]] = pydantic.Field(default_factory=dict)

    def rise(self, layer: str, weight_bits: int) -> float:
        """The score of one choice; KeyError if it was not scored."""
        return self.scores[layer][weight_bits].rise
