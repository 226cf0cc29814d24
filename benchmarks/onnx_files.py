"""The fp32 baseline as an ONNX file, and accuracy and time of any file in ONNX Runtime."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import nn

from benchmarks.stopwatch import interleaved_ms
from sigmaquant.artifact import written_atomically

Float32Array = npt.NDArray[np.float32]

_WARM_UP_ROUNDS = 20


def write_float_onnx(model: nn.Module, input_shape: tuple[int, ...], path: Path) -> None:
    """Export the fp32 network with torch.onnx, which folds BatchNorm; batch size is free.

    The exporter's notes for debugging (stack traces, 6 % of ResNet-20's file) are left out, so
    that the baseline is as small as it can be.
    """
    example = torch.zeros(2, *input_shape)
    with warnings.catch_warnings():
        # torch 2.13 warns about its own calls here.
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    for node in proto.graph.node:
        del node.metadata_props[:]
    with written_atomically(path) as temporary:
        onnx.save(proto, temporary)


def open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """A session on the CPU with that many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def top1_percent(
    path: Path, inputs: Float32Array, labels: npt.NDArray[np.int64], batch: int
) -> float:
    """Share of samples whose largest logit is the label's, in percent.

    Args:
        path: a file with one input and the logits as its first output.
        inputs: (n, *input_shape).
        labels: (n,).
        batch: samples a run.
    """
    session = open_session(path, threads=0)
    (node,) = session.get_inputs()
    correct = 0
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        logits = session.run(None, {node.name: inputs[part]})[0]
        correct += int((logits.argmax(1) == labels[part]).sum())
    return 100 * correct / len(labels)


def interleaved_latency_ms(
    paths: Sequence[Path], sample: Float32Array, threads: int, rounds: int
) -> list[float]:
    """Median time of one run of each file, the files taking turns.

    Args:
        paths: files with one input.
        sample: (batch, *input_shape).
        threads: of the runtime.
        rounds: turns of each file.
    """
    sessions = [open_session(path, threads) for path in paths]
    calls = [
        functools.partial(session.run, None, {session.get_inputs()[0].name: sample})
        for session in sessions
    ]
    return interleaved_ms(calls, warm_up=_WARM_UP_ROUNDS, rounds=rounds)
