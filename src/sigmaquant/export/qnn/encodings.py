"""How one tensor is quantized, in the two schemas that Qualcomm's converter takes.

Both are defined in "Encoding Format Specification" (Docs/techniques/encoding_spec.rst of
github.com/qualcomm/aimet): section 3 for 1.0.0, section 2 for 2.0.0.

- 1.0.0: ``scale * (q + offset)`` with q in 0 .. 2^bw - 1, so that ``offset`` is minus the zero
  point, and -2^(bw-1) for signed integers around zero (``to_qnn_encoding_dict`` of
  aimet_torch.quantization.affine.encoding). Channels are those of the output.
- 2.0.0: the fields of ``onnx::QuantizeLinear``; ``scale * (q - y_zero_point)`` with q in the range
  of ``output_dtype``. A zero point of 0 is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

VERSIONS = ("1.0.0", "2.0.0")

_QUANTIZER_ARGS = {
    "activation_bitwidth": 8,
    "dtype": "int",
    "is_symmetric": True,
    "param_bitwidth": 8,
    "per_channel_quantization": True,
    "quant_scheme": "post_training_tf_enhanced",
}
"""What 1.0.0 says of all tensors, for people who debug; the scheme is AIMET's nearest name for
ranges of least squared error."""


@dataclass(frozen=True)
class TensorEncoding:
    """How a tensor is quantized.

    Attributes:
        name: of the tensor.
        scales: one, or one for each channel of dimension 0.
        zero_point: 0 where signed.
        bits: width of the integers.
        signed: whether they lie around zero.
        per_channel: whether there is a scale for each channel.
    """

    name: str
    scales: tuple[float, ...]
    zero_point: int
    bits: int
    signed: bool
    per_channel: bool


def encodings_file(
    version: str, activations: Iterable[TensorEncoding], parameters: Iterable[TensorEncoding]
) -> dict[str, Any]:
    """The content of an encodings file of one of ``VERSIONS``."""
    if version == "2.0.0":
        every = [_version_2(encoding) for encoding in (*activations, *parameters)]
        return {"version": version, "encodings": every}
    return {
        "version": version,
        "activation_encodings": [_version_1(encoding) for encoding in activations],
        "param_encodings": [_version_1(encoding) for encoding in parameters],
        "quantizer_args": _QUANTIZER_ARGS,
        "excluded_layers": [],
    }


def _version_1(encoding: TensorEncoding) -> dict[str, Any]:
    offset = -(2 ** (encoding.bits - 1)) if encoding.signed else -encoding.zero_point
    return {
        "name": encoding.name,
        "enc_type": "PER_CHANNEL" if encoding.per_channel else "PER_TENSOR",
        "dtype": "INT",
        "bw": encoding.bits,
        "is_sym": encoding.signed,
        "scale": list(encoding.scales),
        "offset": [offset] * len(encoding.scales),
    }


def _version_2(encoding: TensorEncoding) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": encoding.name,
        "output_dtype": f"{'' if encoding.signed else 'u'}int{encoding.bits}",
        "y_scale": list(encoding.scales) if encoding.per_channel else encoding.scales[0],
    }
    if encoding.zero_point:
        fields["y_zero_point"] = encoding.zero_point
    if encoding.per_channel:
        fields["axis"] = 0
    return fields
