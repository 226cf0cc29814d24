"""Whether the calibration data stand for what the network will see.

A plan is only as good as the data it was made with. Four measures compare them with data from
deployment (or, without these, with the evaluation data): values outside the calibrated ranges, the
shift of every layer's inputs, the stability of the scores, and plain sanity of the inputs. Each is
held against what two halves of the calibration data show, so that a small set does not cry wolf.
"""

from sigmaquant.calibration.check.comparison import check_calibration, with_scores
from sigmaquant.calibration.check.stability import score_stability

__all__ = ["check_calibration", "score_stability", "with_scores"]
