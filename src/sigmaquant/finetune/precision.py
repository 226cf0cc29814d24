"""The float type of training: bfloat16 where the hardware multiplies it faster.

Only convolutions and matrix products of the network in training are computed in bfloat16
(autocast). The float network's answers, the fake quantization, the loss, parameters and held-back
losses stay in float32.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch

from sigmaquant.errors import ConfigError

Precision = Literal["auto", "float32", "bfloat16"]


def trains_in_bfloat16(precision: Precision) -> bool:
    """Whether a training of that precision uses bfloat16 on this machine.

    Raises:
        ConfigError: an unknown precision.
    """
    if precision not in get_args(Precision):
        known = ", ".join(get_args(Precision))
        raise ConfigError(f"unknown precision {precision!r}; known: {known}")
    if precision == "auto":
        return _multiplies_bfloat16()
    return precision == "bfloat16"


def _multiplies_bfloat16() -> bool:
    # AVX-512 BF16, which every processor with AMX has too; elsewhere bfloat16 is emulated and slow.
    return bool(torch.cpu._is_avx512_bf16_supported())
