"""What a run is asked to do, from a TOML file, from flags, or from both.

A file looks like this; everything but the model, the calibration data, the device and the folder
may be left out::

    [model]
    factory = "nets.py:resnet20"         # or package.module:name, or an .onnx, .keras or .pt2 file
    weights = "resnet20.safetensors"

    [data]
    calibration = "calibration.npz"      # or a folder of images, or package.module:function
    training = "training.npz"
    evaluation = "test.npz"
    deployment = "field.npz"             # unlabelled; the calibration data are compared with it
    images = { size = [224, 224], mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }

    [target]
    device = "cortex-m7"
    runtime = "tflm"                     # by default the export format's
    flash = "96 KiB"
    latency = "40 ms"

    [export]
    format = "tflite"                    # or "c", or "onnx", the default

    [gates]
    max_drop = 1.0

    [run]
    out = "runs/resnet20"

Files are relative to the TOML file's folder; modules are imported from where they are installed or
from the current folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic

from sigmaquant.artifact import Frozen
from sigmaquant.bitplan import ActivationBits
from sigmaquant.budget import Budget
from sigmaquant.data import DataSource, ImageOptions, load_data
from sigmaquant.data.references import is_reference
from sigmaquant.errors import ConfigError, InputError
from sigmaquant.export.formats import FormatOptions, format_named, runtime_of
from sigmaquant.export.tflite.options import TfliteOptions
from sigmaquant.search.strategies import strategy_named
from sigmaquant.toml_schema import load_toml
from sigmaquant.units import parse_bytes, parse_ms, parse_uj


def _checked(parse: Any) -> pydantic.AfterValidator:
    """A text that ``parse`` understands, kept as the user wrote it."""

    def check(text: str | float) -> str | float:
        try:
            parse(text)
        except InputError as error:
            raise ValueError(str(error)) from error
        return text

    return pydantic.AfterValidator(check)


Size = Annotated[str | float, _checked(parse_bytes)]
Time = Annotated[str | float, _checked(parse_ms)]
Energy = Annotated[str | float, _checked(parse_uj)]
StrategyName = Annotated[str, _checked(strategy_named)]
FormatName = Annotated[str, _checked(format_named)]
Count = Annotated[int, pydantic.Field(ge=1)]


class ModelConfig(Frozen):
    """The network.

    Attributes:
        factory: ``package.module:name``, ``file.py:name``, an ``.onnx``, ``.keras``, ``.h5``,
            ``.tflite`` or ``.pt2`` file, or the folder of a SavedModel.
        weights: safetensors file with the factory's state dict.
        dequantize: take an ``.onnx`` or ``.tflite`` file that is quantized already.
        float_layers: names of layers to leave in float; see ``Network.with_float_layers``.
    """

    factory: str | None = None
    weights: str | None = None
    dequantize: bool = False
    float_layers: tuple[str, ...] = ()


class DataConfig(Frozen):
    """The data, each a ``.npz`` file, a folder of images or ``package.module:function``.

    Attributes:
        calibration: what the layers are scored and quantized with; labels are not needed.
        training: for fine-tuning; without it there is none.
        evaluation: what the accuracy is reported on.
        deployment: data as they occur in use, which the calibration data are compared with; labels
            are not needed. Without it the evaluation data take its place.
        batch_size: for files and folders.
        calibration_samples: so many at most are read for calibration.
        hold_back: part of the calibration samples that judges the plan.
        images: how images become inputs.
    """

    calibration: str | None = None
    training: str | None = None
    evaluation: str | None = None
    deployment: str | None = None
    batch_size: Count = 64
    calibration_samples: Count = 512
    hold_back: Annotated[float, pydantic.Field(gt=0, lt=1)] = 0.25
    images: ImageOptions = ImageOptions()

    def open(self, spec: str, *, shuffle: bool = False, seed: int = 0) -> DataSource:
        """The data of that name, read as these settings say."""
        return load_data(
            spec, batch_size=self.batch_size, shuffle=shuffle, seed=seed, images=self.images
        )


class TargetConfig(Frozen):
    """The device and its hard budgets.

    Attributes:
        device: name of a shipped profile, or a TOML file.
        runtime: what runs there: the name of a shipped one, or a TOML file. By default the export
            format's, or else the stack that the profile describes.
        flash, ram, latency, energy: upper limits with units, such as "96 KiB"; None is none.
    """

    device: str | None = None
    runtime: str | None = None
    flash: Size | None = None
    ram: Size | None = None
    latency: Time | None = None
    energy: Energy | None = None

    def budget(self) -> Budget:
        """The limits as numbers."""
        return Budget(flash=self.flash, ram=self.ram, latency=self.latency, energy=self.energy)


class SearchConfig(Frozen):
    """How layers are scored and widths are chosen.

    Attributes:
        metric: how sensitivity is measured (see ``sensitivity.score``).
        rounding: of the weights, in scores and in the result; None: the one that suits how the
            runtime stores them (see ``stages.rounding_for``).
        strategy: the solver.
        activation_bits: width of all activations; None: chosen where the device runs several, else
            its native one.
    """

    metric: Literal["taylor", "loss", "sigma"] = "taylor"
    rounding: Literal["compensated", "coded", "nearest"] | None = None
    strategy: StrategyName = "exact"
    activation_bits: ActivationBits | None = None


class QuantizeConfig(Frozen):
    """How weights are rounded, and what follows with the calibration data alone.

    Attributes:
        mirrored: whether calibration images mean the same in a mirror, so that weights are rounded
            with their mirror images too (see ``quantize``).
        reconstruct: steps of block reconstruction on each block (see ``reconstruct``); 0 for none.
    """

    mirrored: bool = False
    reconstruct: Annotated[int, pydantic.Field(ge=0)] = 0


class FinetuneConfig(Frozen):
    """Training after quantization.

    Attributes:
        epochs: 0 for none.
        data: what is trained on: the training data, where there are some, or the calibration data,
            without labels and each time moved a little (see ``finetune.AugmentedBatches``).
        mirrored: whether the images among the calibration data mean the same in a mirror.
        learning_rate: at the start of the schedule; None for the default.
        feature_weight, damping, precision, memory: see ``finetune``.
        revise: whether the plan is revised once on the trained network, which is then trained
            again (see ``stages.revise``).
    """

    epochs: Annotated[int, pydantic.Field(ge=0)] = 5
    data: Literal["training", "calibration"] = "training"
    mirrored: bool = False
    learning_rate: Annotated[float, pydantic.Field(gt=0, lt=1)] | None = None
    feature_weight: Annotated[float, pydantic.Field(ge=0)] = 0.0
    damping: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.0
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    memory: Size | None = None
    revise: bool = False

    def options(self) -> dict[str, Any]:
        """Arguments of ``finetune`` beyond the epochs; only those that differ from its defaults."""
        others = {"epochs", "data", "mirrored", "revise"}
        return self.model_dump(exclude=others, exclude_defaults=True)


class ExportConfig(Frozen):
    """The exported file.

    Attributes:
        format: what runtime it is for.
        file: its name in the run's folder; None for the format's own.
        coded: whether the weights of an ONNX file are written in a prefix code.
        tflite: options of TensorFlow Lite files.
    """

    format: FormatName = "onnx"
    file: str | None = None
    coded: bool = False
    tflite: TfliteOptions = TfliteOptions()

    @pydantic.field_validator("coded")
    @classmethod
    def _only_onnx_files_hold_code(cls, coded: bool, known: pydantic.ValidationInfo) -> bool:
        file_format = known.data.get("format", "onnx")
        if coded and file_format != "onnx":
            raise ValueError(f"only ONNX files hold weights in code, not {file_format}")
        return coded

    @property
    def file_name(self) -> str:
        """The file's name, given or by format."""
        return self.file or format_named(self.format).file

    @property
    def options(self) -> FormatOptions:
        """The options of all formats that have some."""
        return FormatOptions(coded=self.coded, tflite=self.tflite)


class GatesConfig(Frozen):
    """Limits on the result; a run that exceeds one ends with exit code 4.

    Attributes:
        max_drop: largest drop of the accuracy, in percentage points.
    """

    max_drop: Annotated[float, pydantic.Field(ge=0)] | None = None


class FolderConfig(Frozen):
    """Where the results go, and the seed of every random draw."""

    out: str | None = None
    seed: Annotated[int, pydantic.Field(ge=0)] = 0


class RunConfig(Frozen):
    """All of a run's settings."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    target: TargetConfig = TargetConfig()
    search: SearchConfig = SearchConfig()
    quantize: QuantizeConfig = QuantizeConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    export: ExportConfig = ExportConfig()
    gates: GatesConfig = GatesConfig()
    run: FolderConfig = FolderConfig()

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a TOML file; its relative paths become relative to the current folder.

        Raises:
            ConfigError: unreadable, or not what the settings allow; names file, line and key.
        """
        return load_toml(path, cls)._anchored(Path(path).parent)

    def overridden(self, flags: Mapping[str, Mapping[str, Any]]) -> Self:
        """A copy with the flags that were given, by section and key; None was not given.

        Raises:
            ConfigError: a value that the settings do not allow.
        """
        sections = self.model_dump(exclude_unset=True)
        for section, values in flags.items():
            given = {key: value for key, value in values.items() if value is not None}
            sections[section] = {**sections.get(section, {}), **given}
        try:
            return type(self).model_validate(sections)
        except pydantic.ValidationError as error:
            raise ConfigError("\n".join(_flag_problem(each) for each in error.errors())) from error

    @property
    def runtime(self) -> str | None:
        """The runtime that widths are chosen for; None for the device profile's own stack."""
        return self.target.runtime or runtime_of(self.export.format, self.export.options)

    def completed(self) -> Self:
        """The configuration itself, if nothing is missing that a run needs.

        Raises:
            ConfigError: names every flag and key that is missing.
        """
        needed = {
            "--model ([model] factory)": self.model.factory,
            "--calibration ([data] calibration)": self.data.calibration,
            "--device ([target] device)": self.target.device,
            "--out ([run] out)": self.run.out,
        }
        missing = [name for name, value in needed.items() if value is None]
        if missing:
            raise ConfigError(f"a run also needs {', '.join(missing)}")
        return self

    def _anchored(self, folder: Path) -> Self:
        """A copy whose relative paths start at the folder."""
        return self.overridden(
            {
                "model": _anchored(self.model, folder, "factory", "weights"),
                "data": _anchored(
                    self.data, folder, "calibration", "training", "evaluation", "deployment"
                ),
                "target": _anchored(self.target, folder, "device", "runtime"),
                "run": _anchored(self.run, folder, "out"),
            }
        )


def _anchored(section: Frozen, folder: Path, *keys: str) -> dict[str, str | None]:
    return {key: _anchor(getattr(section, key), folder, key) for key in keys}


def _anchor(text: str | None, folder: Path, key: str) -> str | None:
    """A path relative to the folder; names of modules and shipped devices stay."""
    if text is None or _is_name(text, key):
        return text
    return str(folder / text)


def _is_name(text: str, key: str) -> bool:
    if key in ("device", "runtime"):
        return not text.endswith(".toml")
    return is_reference(text) and ".py:" not in text


_GROUPS = ("tflite",)  # tables within a section, whose keys are flags of their own


def _flag_problem(problem: Any) -> str:
    """One line for a flag whose value is not allowed."""
    _, key, *rest = problem["loc"]
    flag = "--" + str(rest[0] if key in _GROUPS else key).replace("_", "-")
    if problem["type"] == "value_error":  # our own message, which names the value
        return f"{flag}: {problem['msg'].removeprefix('Value error, ')}"
    reason = problem["msg"].replace("Input should be", "expected")
    return f"{flag}: {reason}, not {problem['input']!r}"
