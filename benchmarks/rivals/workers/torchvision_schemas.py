"""Operators that torchvision registers when it is imported, for a torch without its binary part.

The binary part of torchvision's wheels needs CUDA. Some rivals import torchvision and never call
these operators, so that their schemas are enough. Import this module before such a rival.
"""

from __future__ import annotations

import torch

LIBRARY = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    LIBRARY.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
