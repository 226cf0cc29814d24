"""``torch.export`` with a dynamic batch where the model allows it, and typed errors."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from sigmaquant.artifact import written_atomically
from sigmaquant.errors import ModelError

_USER_LINE = re.compile(
    r'The following call raised this error:\n +File "(?P<file>[^"]+)", line (?P<line>\d+).*\n'
    r" *(?P<code>.+)"
)


def export(model: nn.Module, example_input: Tensor | Sequence[Tensor]) -> ExportedProgram:
    """The model as an ATen graph, in evaluation mode.

    Args:
        model: left untouched; exported as a copy in eval mode on the CPU.
        example_input: one tensor, or one for each input; the first dimension is the batch.

    Raises:
        ModelError: the example does not run, a parameter is not finite or not float32, or the
            model cannot be exported.
    """
    inputs = _as_inputs(example_input)
    network = _copied(model).cpu().eval().requires_grad_(False)
    _check_parameters(network)
    _check_runs(network, inputs)
    try:
        program = _exported(
            network, _two_samples(inputs), dynamic_shapes=tuple({0: Dim.AUTO} for _ in inputs)
        )
    except Exception:
        # A model may fix its batch size; then the example's batch is the only one it takes.
        program = _export_static(network, inputs)
    return functional(program)


def functional(program: ExportedProgram) -> ExportedProgram:
    """The same graph without in-place operators; composite operators stay whole."""
    with quiet_graph_copies():
        rewritten: ExportedProgram = program.run_decompositions({})
    return rewritten


@contextlib.contextmanager
def quiet_graph_copies() -> Iterator[None]:
    """Silence what torch 2.13 says about its own tree records when a graph is copied."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        yield


def _export_static(network: nn.Module, inputs: tuple[Tensor, ...]) -> ExportedProgram:
    try:
        return _exported(network, inputs)
    except Exception as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0].rstrip(".")
        raise ModelError(
            f"{type(network).__name__} cannot be exported by torch.export{_line_of(error)}: "
            f"{reason}. Control flow that depends on tensor values has to be rewritten, for "
            "example with torch.where"
        ) from error


def _exported(
    network: nn.Module, inputs: tuple[Tensor, ...], dynamic_shapes: Any = None
) -> ExportedProgram:
    """``torch.export.export`` without the graphs that it prints when it fails."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return torch.export.export(network, inputs, dynamic_shapes=dynamic_shapes)
    finally:
        logging.disable(disabled)


def _line_of(error: Exception) -> str:
    """The line of the user's code that torch names in its message, if it names one."""
    found = _USER_LINE.search(str(error))
    return f" ({found['file']}, line {found['line']}: {found['code']})" if found else ""


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} cannot be copied: {error}. Hooks that compute a parameter, "
            "such as the old torch.nn.utils.weight_norm, have to be removed first"
        ) from error


def _as_inputs(example_input: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    inputs = (example_input,) if isinstance(example_input, Tensor) else tuple(example_input)
    if not inputs or not all(isinstance(x, Tensor) and x.dim() > 0 and len(x) for x in inputs):
        raise ModelError("example_input has to be a tensor, or a tuple of tensors, with a batch")
    return tuple(x.detach().cpu() for x in inputs)


def _two_samples(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The first two, or the first one twice: export would take a batch of one for a fixed size.

    No more, since a saved network holds its example input.
    """
    return tuple(torch.cat((x[:1], x[:2][-1:])) for x in inputs)


def _check_parameters(network: nn.Module) -> None:
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ModelError(f"{name} is {tensor.dtype}; only float32 is captured: model.float()")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{name} holds NaN or infinite values; train or load the model again")


def _check_runs(network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
    try:
        with torch.no_grad():
            network(*inputs)
    except Exception as error:
        raise ModelError(
            f"{type(network).__name__} fails on the example input of shape {shapes}: {error}"
        ) from error


def save_program(
    program: ExportedProgram, path: str | Path, notes: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Write a ``.pt2`` file, with notes by key; it appears whole or not at all."""
    with written_atomically(Path(path)) as temporary, temporary.open("wb") as file:
        torch.export.save(program, file, extra_files=dict(notes))


def load_program(path: str | Path, notes: dict[str, str] | None = None) -> ExportedProgram:
    """Read a ``.pt2`` file, and into ``notes`` what was noted in it under the keys there.

    Raises:
        ModelError: missing, or not written by torch.export.
    """
    if not Path(path).is_file():
        raise ModelError(f"no such file: {path}")
    if not zipfile.is_zipfile(path):  # torch would log a traceback
        raise ModelError(f"{path} is not a network saved by torch.export: not an archive")
    try:
        return torch.export.load(str(path), extra_files=notes)
    except Exception as error:
        raise ModelError(f"{path} is not a network saved by torch.export: {error}") from error
