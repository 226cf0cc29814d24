"""Other tools' models of chips, behind one Protocol.

A profile describes a device in tables that the search can choose from. Some vendors have a model of
their chip that knows more, but needs a finished file; other models take any accelerator that is
described to them, and minutes. Both judge a plan after the search.
"""

from sigmaquant.devices.estimators.protocol import (
    Estimate,
    Estimator,
    OperatorEstimate,
    PlannedNetwork,
)
from sigmaquant.devices.estimators.vela import Vela
from sigmaquant.devices.estimators.zigzag import ZigZag

ESTIMATORS: dict[str, Estimator] = {"vela": Vela(), "zigzag": ZigZag()}
"""By the name that ``sigmaquant devices estimate --with`` takes."""

__all__ = [
    "ESTIMATORS",
    "Estimate",
    "Estimator",
    "OperatorEstimate",
    "PlannedNetwork",
    "Vela",
    "ZigZag",
]
