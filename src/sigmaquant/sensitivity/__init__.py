"""How much each layer tolerates: the loss rise of every (layer, width), one metric a file.

A score is about one layer alone, quantized with the rounding that will ship. Scores from plain
rounding mislead below 4 bits, where error-compensated rounding changes which layers are fragile.
"""

from sigmaquant.scores import Score, SensitivityTable
from sigmaquant.sensitivity.score import METRICS, Metric, score

__all__ = ["METRICS", "Metric", "Score", "SensitivityTable", "score"]
