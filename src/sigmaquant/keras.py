"""For users of Keras: a Keras model and their own data in, files for a device out.

>>> import sigmaquant as sq
>>> from sigmaquant.keras import optimize
>>> result = optimize(                                                # doctest: +SKIP
...     model, (x_train[:512], y_train[:512]), device="cortex-m4",
...     budget=sq.Budget(flash="32 KiB"), evaluation=(x_test, y_test), out="runs/first",
... )
>>> result.files                                                      # doctest: +SKIP
(PosixPath('runs/first/model.tflite'),)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sigmaquant import pipeline
from sigmaquant.bitplan import BitPlan
from sigmaquant.budget import Budget
from sigmaquant.data import load_network
from sigmaquant.data.numpy_data import Ports, first_inputs, numpy_source
from sigmaquant.devices import DeviceProfile
from sigmaquant.errors import ModelError
from sigmaquant.network import Network
from sigmaquant.network.capture import captured
from sigmaquant.quantized import QuantizedNetwork
from sigmaquant.report import RunReport

__all__ = ["KerasResult", "capture", "optimize"]


@dataclass(frozen=True)
class KerasResult:
    """What a run found.

    Attributes:
        plan: the widths, by the names of the Keras layers.
        report: everything else; ``report.html`` in the run's folder shows it.
        files: what was exported.
        network: the quantized network as a torch module.
    """

    plan: BitPlan
    report: RunReport
    files: tuple[Path, ...]
    network: QuantizedNetwork


def optimize(
    model: Any,
    dataset: Any,
    *,
    device: str | Path | DeviceProfile,
    budget: Budget,
    out: str | Path,
    train: Any = None,
    evaluation: Any = None,
    deployment: Any = None,
    format: str = "tflite",  # noqa: A002  (the user's word for it)
    batch_size: int = 64,
    seed: int = 0,
    **settings: Any,
) -> KerasResult:
    """Give every layer its width for a device, and repair, export, verify and report.

    Args:
        model: a Keras 3 model on any backend, or the path of a ``.keras`` or ``.h5`` file, of a
            SavedModel or of a float ``.tflite`` file.
        dataset: inputs like those in use, as ``model.predict`` takes them: NumPy arrays, ``x`` or
            ``(x, y)``, or a ``tf.data.Dataset``. Labels are not needed.
        device: a shipped profile's name, a TOML file, or a profile.
        budget: hard limits; the device's own memory is one too.
        out: folder for all results; a second run in it goes on where the first one stopped.
        train: what to fine-tune on, labels not needed; without it there is no fine-tuning.
        evaluation: labelled data that the accuracy is reported on; by default a part of
            ``dataset`` that is held back.
        deployment: data as they occur in use, which ``dataset`` is compared with.
        format: of the exported file: "tflite", "tflm", "c", "onnx", "qonnx" or "qnn".
        batch_size: for arrays.
        seed: of every random draw.
        settings: further arguments of ``sigmaquant.optimize``, such as ``epochs``.

    Raises:
        GateError, InfeasibleError, InputError, VerificationError: see ``sigmaquant.optimize``.
    """
    network = capture(model, dataset)
    ports = Ports.of(network)

    def source(data: Any, what: str, *, shuffle: bool = False) -> Any:
        if data is None:
            return None
        return numpy_source(data, ports, what, batch_size=batch_size, shuffle=shuffle, seed=seed)

    result = pipeline.optimize(
        network,
        calibration=source(dataset, "calibration"),
        device=device,
        budget=budget,
        train=source(train, "training", shuffle=True),
        evaluation=source(evaluation, "evaluation"),
        deployment=source(deployment, "deployment"),
        out=out,
        format=format,
        seed=seed,
        **settings,
    )
    files = tuple(Path(out) / each.file_name for each in result.report.exports)
    return KerasResult(result.plan, result.report, files, result.network)


def capture(model: Any, dataset: Any = None) -> Network:
    """A captured network, as all stages of ``sigmaquant`` take it.

    Args:
        model: see ``optimize``.
        dataset: only needed where the model leaves other sizes open than the batch.

    Raises:
        MissingExtraError: Keras, or TensorFlow where the path needs it, is not installed.
        ModelError: it is no such model, or its sizes are not known.
        UnsupportedError: a layer or an operator that is not known.
    """
    from sigmaquant.network.keras import import_keras, load_keras

    name = ""
    if isinstance(model, str | Path):
        name = str(model)
        if not name.endswith((".keras", ".h5")):
            return load_network(name, None, lambda names: _example(names, dataset))
        model = load_keras(name)
    return captured(import_keras(model, lambda names: _example(names, dataset), name))


def _example(names: tuple[str, ...], dataset: Any) -> Sequence[Tensor]:
    if dataset is None:
        raise ModelError("the model leaves sizes of its inputs open; give data of the size in use")
    return first_inputs(dataset, Ports(names, (torch.float32,) * max(len(names), 1)))
