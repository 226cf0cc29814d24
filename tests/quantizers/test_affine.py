from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from sigmaquant.quantizers import AffineRange, best_range, fake_quantize
from sigmaquant.quantizers.ranges import Histogram

limits = st.floats(-1e4, 1e4, allow_nan=False)


@given(ends=st.tuples(limits, limits), bits=st.integers(2, 8))
def test_a_range_holds_zero_exactly_and_reaches_its_ends(
    ends: tuple[float, float], bits: int
) -> None:
    low, high = sorted(ends)
    encoding = AffineRange.covering(low, high, bits)
    assert encoding.scale > 0
    assert encoding.scale == float(np.float32(encoding.scale))
    assert 0 <= encoding.zero_point <= 2**bits - 1
    assert fake_quantize(torch.zeros(1), encoding).item() == 0
    least = -encoding.zero_point * encoding.scale
    most = (2**bits - 1 - encoding.zero_point) * encoding.scale
    half = encoding.scale * (0.5 + 1e-3)
    assert least <= max(low, 0.0) + half
    assert most >= min(high, 0.0) - half
    assert least - half <= min(low, 0.0)
    assert most + half >= max(high, 0.0)


def test_a_constant_tensor_has_a_range() -> None:
    assert AffineRange.covering(0.0, 0.0, 8).scale > 0


@settings(deadline=None, max_examples=50)
@given(
    low=st.floats(-5, 0), high=st.floats(0.1, 5), bits=st.integers(2, 8), seed=st.integers(0, 99)
)
def test_fake_quantization_moves_by_half_a_step_at_most(
    low: float, high: float, bits: int, seed: int
) -> None:
    encoding = AffineRange.covering(low, high, bits)
    top = 2**bits - 1
    least, most = (encoding.scale * (q - encoding.zero_point) for q in (0, top))
    x = torch.empty(100).uniform_(least, most, generator=torch.Generator().manual_seed(seed))
    y = fake_quantize(x, encoding)
    assert float((y - x).abs().max()) <= encoding.scale * 0.501
    integers = y / encoding.scale + encoding.zero_point
    assert torch.allclose(integers, integers.round(), atol=1e-3)


def histogram_of(values: Tensor) -> Histogram:
    histogram = Histogram(min(0.0, float(values.min())), max(0.0, float(values.max())))
    histogram.add(values)
    return histogram


def squared_error(values: Tensor, encoding: AffineRange) -> float:
    return float((fake_quantize(values, encoding) - values).double().square().sum())


@settings(deadline=None, max_examples=40)
@given(
    bits=st.integers(2, 8),
    seed=st.integers(0, 2**16),
    tail=st.sampled_from([1.0, 3.0, 20.0]),
    shift=st.floats(-2, 2),
)
def test_the_best_range_is_no_worse_than_the_full_one(
    bits: int, seed: int, tail: float, shift: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2000, generator=generator) + shift
    values[:5] *= tail
    histogram = histogram_of(values)
    full = AffineRange.covering(histogram.low, histogram.high, bits)
    best = best_range(histogram, bits)
    # The histogram rounds every value to its bin.
    assert squared_error(values, best) <= squared_error(values, full) * 1.05 + 1e-6


def test_outliers_are_clipped_at_few_bits() -> None:
    values = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    values[0] = 30.0
    best = best_range(histogram_of(values), 3)
    full = AffineRange.covering(float(values.min()), float(values.max()), 3)
    assert best.scale < 0.5 * full.scale
    assert squared_error(values, best) < 0.5 * squared_error(values, full)


@settings(deadline=None, max_examples=20)
@given(bits=st.integers(2, 8), seed=st.integers(0, 2**16), spread=st.sampled_from([1.0, 5.0, 30.0]))
def test_through_a_reader_the_best_range_is_no_worse_either(
    bits: int, seed: int, spread: float
) -> None:
    values = spread * torch.randn(2000, generator=torch.Generator().manual_seed(seed))
    histogram = histogram_of(values)
    plain = best_range(histogram, bits)
    histogram.seen = functional.silu
    wanted = functional.silu(values)
    errors = [
        float((functional.silu(fake_quantize(values, encoding)) - wanted).square().sum())
        for encoding in (best_range(histogram, bits), plain)
    ]
    # The histogram rounds every value to its bin, and each end is clipped in turn.
    assert errors[0] <= errors[1] * 1.05 + 1e-6


def test_a_histogram_counts_everything_once() -> None:
    histogram = Histogram(-1.0, 1.0)
    histogram.add(torch.tensor([[-5.0, 0.0], [1.0, 9.0]]))
    histogram.add(torch.full((3,), 0.9999))
    assert histogram.counts.sum() == 7
    assert histogram.counts[0] == 1
    assert histogram.counts[-1] == 5
    centers = histogram.centers()
    assert float(centers[0]) == -float(centers[-1])
