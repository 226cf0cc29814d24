"""Gemm and MatMul: linear layers where the right side is a constant."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sigmaquant.network.onnx.call import Builder, Call, Step


def _matrix_product(call: Call) -> Step:
    right = call.value(1).constant
    if right is not None and right.dim() == 2 and not call.value(0).known and call.rank() >= 2:
        if call.shape()[-1] != right.shape[0]:
            call.damaged(f"its weight of {tuple(right.shape)} does not fit {call.shape()}")
        return Step(_linear(call.parameter(1, "weight", transposed=True)))
    return Step(MatrixProduct(), (0, 1))


def _general_product(call: Call) -> Step:
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    turned = bool(call.integer("transA", 0)), bool(call.integer("transB", 0))
    if call.rank() != 2 or call.rank(1) != 2:
        call.damaged("its two matrices do not have two dimensions")
    if call.value(1).constant is not None and not call.value().known and not turned[0]:
        weight = call.parameter(1, "weight", transposed=not turned[1])
        if weight.shape[1] != call.shape()[1]:
            call.damaged(f"its weight of {tuple(weight.shape)} does not fit {call.shape()}")
        if alpha != 1:
            weight = nn.Parameter(alpha * weight.detach())
        if not call.has(2):
            return Step(_linear(weight))
        bias = _bias(call, weight.shape[0], beta)
        if bias is not None:
            return Step(_linear(weight, bias))
    return Step(GeneralProduct(alpha, beta, *turned), (0, 1, 2) if call.has(2) else (0, 1))


def _bias(call: Call, outputs: int, beta: float) -> nn.Parameter | None:
    """The third input as (outputs,), where it is the same for all samples."""
    given = call.value(2).constant
    if given is None or given.dim() > 2 or (given.dim() == 2 and given.shape[0] != 1):
        return None
    if tuple(given.shape) == (outputs,) and beta == 1:
        return call.parameter(2, "bias")
    row = given.reshape(-1)
    return nn.Parameter(beta * row.expand(outputs)) if row.numel() in (1, outputs) else None


def _linear(weight: nn.Parameter, bias: nn.Parameter | None = None) -> nn.Linear:
    """A linear layer: weight (out, in), bias (out,)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = weight
    layer.register_parameter("bias", bias)
    return layer


class MatrixProduct(nn.Module):
    """The product of two matrices, or of two stacks of matrices."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """(..., m, k) and (..., k, n) to (..., m, n)."""
        return torch.matmul(a, b)


class GeneralProduct(nn.Module):
    """``alpha * A' B' + beta * C`` of matrices, each transposed or not."""

    def __init__(self, alpha: float, beta: float, turn_a: bool, turn_b: bool) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta
        self.turn_a, self.turn_b = turn_a, turn_b

    def forward(self, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        """(m, k) and (k, n), and what broadcasts to (m, n), to (m, n)."""
        product = self.alpha * torch.matmul(
            a.t() if self.turn_a else a, b.t() if self.turn_b else b
        )
        return product if c is None else product + self.beta * c


BUILDERS: dict[str, Builder] = {"Gemm": _general_product, "MatMul": _matrix_product}
"""By ONNX operator."""
