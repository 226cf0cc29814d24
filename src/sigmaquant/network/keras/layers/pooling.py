"""Pools over windows and over everything."""

from __future__ import annotations

from sigmaquant.network.keras.call import LayerCall, Writer


def _pool(operator: str) -> Writer:
    def write(call: LayerCall) -> str:
        layer, value = call.layer, call.channels_first(call.only_input())
        made = call.add(
            operator,
            value,
            main=True,
            kernel_shape=tuple(layer.pool_size),
            strides=tuple(layer.strides),
            auto_pad="SAME_UPPER" if layer.padding == "same" else "VALID",
        )
        return call.back(made)

    return write


def _global(pool: str, reduction: str) -> Writer:
    def write(call: LayerCall) -> str:
        value = call.channels_first(call.only_input())
        if call.layer.keepdims:
            return call.back(call.add(pool, value, main=True))
        axes = call.constant("axes", tuple(range(2, call.rank)))
        return call.add(reduction, value, axes, main=True, keepdims=0)

    return write


_RANKS = (1, 2, 3)

LAYERS: dict[str, Writer] = {
    **{f"AveragePooling{n}D": _pool("AveragePool") for n in _RANKS},
    **{f"MaxPooling{n}D": _pool("MaxPool") for n in _RANKS},
    **{f"GlobalAveragePooling{n}D": _global("GlobalAveragePool", "ReduceMean") for n in _RANKS},
    **{f"GlobalMaxPooling{n}D": _global("GlobalMaxPool", "ReduceMax") for n in _RANKS},
}
"""By class."""
