"""Vendors' own estimators of an exported file, behind one Protocol.

A profile describes a device in tables that the search can choose from. Some vendors have a model of
their chip that knows more, but needs a finished file: it judges a plan after the search.
"""

from sigmaquant.devices.estimators.protocol import Estimator, FileEstimate, OperatorEstimate
from sigmaquant.devices.estimators.vela import Vela

ESTIMATORS: dict[str, Estimator] = {"vela": Vela()}
"""By the name that ``sigmaquant devices estimate --with`` takes."""

__all__ = ["ESTIMATORS", "Estimator", "FileEstimate", "OperatorEstimate", "Vela"]
