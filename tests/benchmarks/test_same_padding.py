from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.networks.mobile import dequantized
from benchmarks.networks.same_padding import SameConv2d, same_padding


@given(size=st.integers(1, 64), kernel=st.integers(1, 11), stride=st.integers(1, 3))
def test_outputs_are_the_size_over_the_stride_rounded_up(size, kernel, stride) -> None:
    begin, end = same_padding(size, kernel, stride)
    assert 0 <= begin <= end <= begin + 1
    if begin + end:
        assert (size + begin + end - kernel) // stride + 1 == -(-size // stride)


@pytest.mark.parametrize(
    ("kernel", "stride"), [((3, 3), 1), ((3, 3), 2), ((10, 4), 2), ((1, 1), 2)]
)
def test_convolution_pads_like_its_definition(kernel, stride) -> None:
    torch.manual_seed(0)
    conv = SameConv2d(2, 3, kernel, stride)
    x = torch.randn(1, 2, 49, 10)
    top, bottom = same_padding(49, kernel[0], stride)
    left, right = same_padding(10, kernel[1], stride)
    padded = torch.zeros(1, 2, 49 + top + bottom, 10 + left + right)
    padded[:, :, top : top + 49, left : left + 10] = x
    expected = torch.nn.functional.conv2d(padded, conv.weight, conv.bias, stride)
    assert conv(x).shape[2:] == (-(-49 // stride), -(-10 // stride))
    torch.testing.assert_close(conv(x), expected)


def test_integers_of_a_weight_file_are_scaled_by_output_channel() -> None:
    state = dequantized(
        {
            "a.weight_int8": torch.tensor([[1, -2], [3, 4]], dtype=torch.int8),
            "a.weight_scale": torch.tensor([0.5, 2.0]),
            "a.bias": torch.ones(2),
        }
    )
    assert state["a.weight"].tolist() == [[0.5, -1.0], [6.0, 8.0]]
    assert set(state) == {"a.weight", "a.bias"}
