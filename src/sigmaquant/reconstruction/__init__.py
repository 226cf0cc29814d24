"""Rounding learned block by block, on calibration data alone.

``reconstruct`` goes on from what ``quantize`` made: AdaRound's soft rounding (Nagel et al. 2020)
over blocks whose outputs count as the network's loss sees them (BRECQ, Li et al. 2021).
"""

from sigmaquant.reconstruction.sweep import reconstruct

__all__ = ["reconstruct"]
