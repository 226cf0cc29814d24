"""What the device can reach at all, before anything expensive is computed.

Each metric alone is exact: additive ones take every layer's smallest cost, and peak RAM is the
same for every choice of weight widths. All together is a mixed-integer program (see
``integer_program``): layers may have their smallest flash, latency and energy at different widths.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from sigmaquant.artifact import Frozen
from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import METRICS, Budget
from sigmaquant.costs.table import CostTable
from sigmaquant.errors import InfeasibleError
from sigmaquant.search.choices import ADDITIVE, Choices, IntArray, same_activations
from sigmaquant.search.infeasible import why_infeasible
from sigmaquant.search.integer_program import Answer, Outcome, budget_caps, minimise

_TIME_LIMIT_SECONDS = 20.0
