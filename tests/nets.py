"""Small networks, one for each thing that capture, rounding and lowering have to get right."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sigmaquant.bitplan import BitPlan
from sigmaquant.network import Network, capture
from sigmaquant.quantized import QuantizedNetwork, quantize


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(6, 16)
        self.norm = nn.BatchNorm1d(16)
        self.out = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.dropout(torch.relu(self.norm(self.hidden(x))), training=self.training))


class OptionABlock(nn.Module):
    """The CIFAR ResNet block whose shortcut has no weights: strided slice, channels padded."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.extra = (channels_out - channels_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.extra:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra, self.extra))
        return F.relu(y + x)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(OptionABlock(4, 4, 1))
        self.layer2 = nn.Sequential(OptionABlock(4, 8, 2))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))
        return self.fc(F.avg_pool2d(x, x.shape[-1]).flatten(1))


class InvertedResidual(nn.Module):
    def __init__(self, channels: int, expanded: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, expanded, 1, bias=False),
            nn.BatchNorm2d(expanded),
            nn.ReLU6(),
            nn.Conv2d(expanded, expanded, 3, 1, 1, groups=expanded, bias=False),
            nn.BatchNorm2d(expanded),
            nn.ReLU6(),
            nn.Conv2d(expanded, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU6()
        )
        self.blocks = nn.Sequential(InvertedResidual(6, 12), InvertedResidual(6, 12))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(6, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.blocks(self.stem(x))).flatten(1))


class ConcatNet(nn.Module):
    """Inception-like: three branches of one input, joined."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.b = nn.Conv2d(3, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(3, 1, 1)
        self.head = nn.Conv2d(11, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([F.relu(self.a(x)), self.b(x), self.pool(x)], dim=1)
        return self.head(joined).mean((2, 3))


class ShuffleNet(nn.Module):
    """Channel split, channel shuffle and grouped convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.branch = nn.Conv2d(4, 4, 3, 1, 1, groups=2)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        left, right = F.relu(self.stem(x)).chunk(2, dim=1)
        x = torch.cat((left, F.relu(self.branch(right))), dim=1)
        batch, channels, height, width = x.shape
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2)
        return self.head(x.reshape(batch, channels, height, width).mean((2, 3)))


class MultiOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(3, 6, 3, 2, 1)
        self.mask = nn.Conv2d(6, 2, 1)
        self.classes = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.trunk(x))
        return self.mask(x), self.classes(x.mean((2, 3)))


class DictOutput(MultiOutput):
    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        mask, classes = super().forward(x)
        return {"mask": mask, "classes": classes}


class SoftmaxHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.fc = nn.Linear(6 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return F.softmax(self.fc(x.flatten(1)), dim=1)


class UnknownOperator(nn.Module):
    """A cumulative sum between two layers: it stays float."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Conv2d(3, 6, 3, padding=1)
        self.after = nn.Conv2d(6, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cumsum(F.relu(self.before(x)), dim=2)
        return self.after(x).mean((2, 3))


class GridSample(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.flow = nn.Conv2d(4, 2, 3, padding=1)
        self.head = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        grid = torch.tanh(self.flow(x)).permute(0, 2, 3, 1)
        return self.head(F.grid_sample(x, grid, align_corners=False)).mean((2, 3))


class Activations(nn.Module):
    """SiLU, hard swish, hard sigmoid, GELU, leaky ReLU: lookup tables."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3, padding=1)
        self.b = nn.Conv2d(6, 6, 3, padding=1)
        self.c = nn.Conv2d(6, 6, 1)
        self.d = nn.Linear(6, 8)
        self.e = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.b(F.silu(self.a(x))))
        x = F.leaky_relu(self.c(F.hardsigmoid(x) * 2 - 1)).mean((2, 3))
        return self.e(F.gelu(self.d(x)))


class Conv1d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(2, 6, 5, stride=2, padding=2)
        self.bn = nn.BatchNorm1d(6)
        self.conv2 = nn.Conv1d(6, 6, 3, dilation=2, groups=3)
        self.pool = nn.AvgPool1d(2)
        self.out = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool1d(F.relu(self.bn(self.conv1(x))), 2)
        return self.out(self.pool(F.relu(self.conv2(x))).mean(2))


class TiedWeights(nn.Module):
    """Two layers with one weight and biases of their own, and a layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 6)
        self.b = nn.Linear(6, 6)
        self.b.weight = self.a.weight
        self.twice = nn.Linear(6, 6)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.b(F.relu(self.a(x))))
        return self.out(F.relu(self.twice(F.relu(self.twice(x)))))


class Functional(nn.Module):
    """Parameters without modules, several in one owner and none with a bias of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(6, 3, 3, 3) / 5)
        self.second = nn.Parameter(torch.randn(8, 6, 1, 1) / 3)
        self.third = nn.Parameter(torch.randn(4, 8) / 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.conv2d(x, self.first, padding=1))
        x = F.relu(F.conv2d(x, self.second, stride=2))
        return F.linear(x.mean((2, 3)), self.third)


class Constants(nn.Module):
    """What is computed from parameters alone: a normalised weight, a layer scale, a grid."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
        self.norm = nn.BatchNorm2d(4)
        self.gamma = nn.Parameter(torch.tensor([0.5, 1.0, -1.0, 2.0]))
        self.standardised = nn.Parameter(torch.randn(5, 4, 1, 1))
        self.temperature = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)) * self.gamma.view(1, 4, 1, 1)
        x = x + torch.arange(6) / 6
        weight = self.standardised - self.standardised.mean(1, keepdim=True)
        return F.conv2d(x, weight).mean((2, 3)) * self.temperature.exp()


class Attention(nn.Module):
    """One pre-norm transformer block over (batch, tokens, features)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 8)
        self.norm1 = nn.LayerNorm(8)
        self.q = nn.Linear(8, 8)
        self.k = nn.Linear(8, 8)
        self.v = nn.Linear(8, 8)
        self.proj = nn.Linear(8, 8)
        self.norm2 = nn.LayerNorm(8)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        y = self.norm1(x)
        batch, tokens, _ = y.shape
        q, k, v = (
            layer(y).view(batch, tokens, 2, 4).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        weights = torch.softmax(q @ k.transpose(-2, -1) / 2, dim=-1)
        y = (weights @ v).transpose(1, 2).reshape(batch, tokens, 8)
        x = x + self.proj(y)
        x = x + self.mlp(self.norm2(x))
        return self.head(x.mean(1))


class FusedAttention(nn.Module):
    """Queries, keys and values from one layer: for a moment their number, 3, comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.proj = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, features = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(batch, tokens, features)).mean(1)


class FixedBatch(nn.Module):
    """Runs with two samples only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.out = nn.Linear(4 * 64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.conv(x)).reshape(2, 4 * 64))


class SamePadding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.even = nn.Conv2d(3, 4, (2, 4), padding="same", bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.odd = nn.Conv2d(4, 4, 3, dilation=2, padding="same")
        self.valid = nn.Conv2d(4, 3, 3, padding="valid")

    def forward(self, x: Tensor) -> Tensor:
        return self.valid(F.relu(self.odd(F.relu(self.norm(self.even(x)))))).mean((2, 3))


class Pools(nn.Module):
    """Pools of every kind, with ceil_mode and padding."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.max = nn.MaxPool2d(3, 2, padding=1, ceil_mode=True)
        self.average = nn.AvgPool2d(3, 1, padding=1)
        self.grid = nn.AdaptiveAvgPool2d((2, 2))
        self.out = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.average(self.max(F.relu(self.conv(x))))
        return self.out(self.grid(x).flatten(1))


class Norms(nn.Module):
    """Batch norms that fold into a biased layer, without parameters, and one that cannot fold."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4, affine=False)
        self.depthwise = nn.Conv2d(4, 8, 3, groups=4)
        self.norm2 = nn.BatchNorm2d(8, eps=1e-2)
        self.alone = nn.BatchNorm2d(8)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm2(self.depthwise(F.relu(self.norm(self.conv(x))))))
        return self.out(self.alone(x).mean((2, 3)))


class AsymmetricPad(nn.Module):
    """TensorFlow's padding at stride 2, a pad with two readers, and one that crops."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, 2)
        self.b = nn.Conv2d(4, 4, 3, padding=1)
        self.c = nn.Conv2d(4, 4, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(F.pad(x, (0, 1, 0, 1))))
        padded = F.pad(x, (1, 0, 1, 0))
        x = self.b(padded) + padded
        return self.c(F.pad(x, (-1, 1, 0, 0))).mean((2, 3))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Conv2d(3, 4, 3)
        self.vector = nn.Linear(5, 4)
        self.out = nn.Linear(8, 3)

    def forward(self, image: Tensor, vector: Tensor) -> Tensor:
        left = F.relu(self.image(image)).mean((2, 3))
        return self.out(torch.cat((left, torch.relu(self.vector(vector))), dim=1))


class Pyramid(nn.Module):
    """One tensor is summed in two places: the sums are rivals for its scale."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.a = nn.Conv2d(4, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 4, 1)
        self.c = nn.Conv2d(4, 4, 1)
        self.up = nn.Conv2d(4, 3, 3)
        self.down = nn.Conv2d(4, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        shared = self.a(x)
        high = F.relu(shared + self.b(x))
        low = shared + self.c(high)
        return (self.up(high) + self.down(low)).mean((2, 3))


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.a(x))
        y = self.b(x)
        y += x
        y.clamp_(-1, 1)
        return y.mean((2, 3))


class PreActivation(nn.Module):
    """A sum that is read before and after its ReLU, so that the ReLU is an operator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 4, 3, padding=1)
        self.c = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x = x + self.b(F.relu(x))
        x = x + self.c(F.relu(x))
        return F.relu(x).mean((2, 3))


class Decoder(nn.Module):
    """Transposed convolutions: with a batch norm, grouped behind a concat, at the output."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, 2, 1)
        self.deep = nn.Conv2d(4, 8, 3, 2, 1)
        self.up = nn.ConvTranspose2d(8, 4, 3, 2, 1, output_padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.grouped = nn.ConvTranspose2d(8, 6, 4, 2, 1, groups=2)
        self.out = nn.ConvTranspose2d(6, 2, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        shallow = F.relu(self.down(x))
        x = F.relu(self.norm(self.up(F.relu(self.deep(shallow)))))
        x = F.relu(self.grouped(torch.cat((x, shallow), dim=1)))
        return self.out(x)


class Decoder1d(nn.Module):
    """Transposed convolutions over a sequence: dilated, called twice, and one that leaves gaps."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv1d(2, 4, 5, stride=3)
        self.up = nn.ConvTranspose1d(4, 4, 3, stride=2, dilation=2, output_padding=1)
        self.gaps = nn.ConvTranspose1d(4, 3, 1, stride=3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.up(F.relu(self.down(x))))
        return self.gaps(F.relu(self.up(x)))


@dataclass(frozen=True)
class Case:
    """A network and the shapes of its inputs, without batch."""

    make: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    batch: int = 4


_IMAGE = ((3, 8, 8),)
CASES: dict[str, Case] = {
    "mlp": Case(Mlp, ((6,),)),
    "resnet": Case(ResNet, _IMAGE),
    "mobilenet": Case(MobileNet, _IMAGE),
    "concat": Case(ConcatNet, _IMAGE),
    "shuffle": Case(ShuffleNet, _IMAGE),
    "multi_output": Case(MultiOutput, _IMAGE),
    "dict_output": Case(DictOutput, _IMAGE),
    "softmax": Case(SoftmaxHead, _IMAGE),
    "unknown": Case(UnknownOperator, _IMAGE),
    "grid_sample": Case(GridSample, _IMAGE),
    "activations": Case(Activations, _IMAGE),
    "conv1d": Case(Conv1d, ((2, 32),)),
    "tied": Case(TiedWeights, ((6,),)),
    "functional": Case(Functional, _IMAGE),
    "constants": Case(Constants, _IMAGE),
    "attention": Case(Attention, ((5, 6),)),
    "fused_attention": Case(FusedAttention, ((5, 8),)),
    "fixed_batch": Case(FixedBatch, _IMAGE, batch=2),
    "same_padding": Case(SamePadding, _IMAGE),
    "pools": Case(Pools, ((3, 10, 10),)),
    "norms": Case(Norms, _IMAGE),
    "asymmetric_pad": Case(AsymmetricPad, _IMAGE),
    "two_inputs": Case(TwoInputs, ((3, 8, 8), (5,))),
    "pyramid": Case(Pyramid, _IMAGE),
    "in_place": Case(InPlace, _IMAGE),
    "pre_activation": Case(PreActivation, _IMAGE),
    "decoder": Case(Decoder, _IMAGE),
    "decoder1d": Case(Decoder1d, ((2, 14),)),
}


def model(name: str) -> nn.Module:
    """The network, in eval mode, with batch norms that do something."""
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = CASES[name].make()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            _randomise(module, generator)
    return made.eval()


def _randomise(norm: nn.BatchNorm1d | nn.BatchNorm2d, generator: torch.Generator) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.normal_(0, 0.2, generator=generator)
    norm.running_var.uniform_(0.3, 1.5, generator=generator)
    if norm.affine:
        norm.weight.data.uniform_(0.5, 1.5, generator=generator)
        norm.bias.data.normal_(0, 0.2, generator=generator)


def samples(name: str, batch: int | None = None, seed: int = 0) -> tuple[Tensor, ...]:
    """Random inputs, one tensor for each."""
    generator = torch.Generator().manual_seed(seed)
    case = CASES[name]
    return tuple(torch.randn(batch or case.batch, *s, generator=generator) for s in case.shapes)


def loader(name: str, batches: int = 4) -> list[tuple[Tensor, ...]]:
    """Calibration data: batches of inputs without labels."""
    return [samples(name, seed=100 + index) for index in range(batches)]


@functools.cache
def captured(name: str) -> Network:
    """The captured network; it is never edited, so all tests share it."""
    return capture(model(name), samples(name))


def quantized(name: str, weight_bits: int = 8, rounding: str = "compensated") -> QuantizedNetwork:
    """The network at one width everywhere."""
    network = captured(name)
    plan = BitPlan.uniform(network.table, weight_bits)
    return quantize(network, plan, loader(name), rounding=rounding)


def flat(outputs: object) -> tuple[Tensor, ...]:
    """Whatever a model returns as a tuple of tensors."""
    if isinstance(outputs, Tensor):
        return (outputs,)
    if isinstance(outputs, dict):
        return tuple(outputs.values())
    assert isinstance(outputs, tuple)
    return outputs
