"""What is known of a device: the schema of a profile file, figures with units and evidence."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Annotated, Self

import pydantic

from sigmaquant.artifact import Frozen
from sigmaquant.bitplan import ActivationBits, WeightBits
from sigmaquant.devices.energy_models import Energy, OpsEnergy
from sigmaquant.devices.evidence import Sourced
from sigmaquant.devices.figures import Figure, PositiveFigure, Text
from sigmaquant.devices.latency_models import CyclesModel, Latency
from sigmaquant.devices.runtime import PLAIN_BITS, Runtime
from sigmaquant.devices.storage import ActivationStorage, Memory, Reserve, WeightStorage
from sigmaquant.errors import DeviceError
from sigmaquant.layers import LayerKind

SupportedActivations = Annotated[tuple[ActivationBits, ...], pydantic.Field(min_length=1)]
SupportedWidths = Annotated[dict[WeightBits, SupportedActivations], pydantic.Field(min_length=1)]


class Clock(Sourced):
    """Clock of the processor."""

    mhz: PositiveFigure


class Uncertainty(Sourced):
    """How far predictions lie from what boards measure.

    Attributes:
        latency_percent: half of the networks lie nearer than this.
        latency_worst_percent: the farthest.
        energy_percent: as ``latency_percent``.
    """

    latency_percent: Figure
    latency_worst_percent: Figure | None = None
    energy_percent: Figure | None = None


class Calibration(Sourced):
    """Factors on the model's times and energies, from measurements of the user's own board.

    Written by ``sigmaquant devices fit``; the figures of the models stay as they were.

    Attributes:
        latency_scale: on layers, by operator kind.
        other_latency_scale: on everything else.
        energy_scale: on all energies, after the time.
        measurements: rows that were fitted.
        left_out_percent: median error of rows predicted from all others; None with one row.
    """

    latency_scale: dict[LayerKind, PositiveFigure]
    other_latency_scale: PositiveFigure
    energy_scale: PositiveFigure = 1.0
    measurements: pydantic.PositiveInt
    left_out_percent: Figure | None = None


class DeviceProfile(Frozen):
    """One device with one software stack: the stack alone moves latency by a factor of two.

    Attributes:
        name: what users call it.
        title: the part, in words.
        core: processor or datapath.
        stack: the kernels that the figures are of.
        notes: what a user has to know before trusting the figures.
        clock: needed by the latency model "cycles".
        supports: activation widths that run, by operator kind and weight width.
        uncertainty: None where nothing was ever compared.
        calibration: None where no board was measured.
        runtime: what stores and runs the weights; None: what ``stack`` names, as the figures say.
    """

    name: Text
    title: Text
    core: Text
    stack: Text
    notes: str = ""
    clock: Clock | None = None
    memory: Memory
    reserve: Reserve
    supports: Annotated[dict[LayerKind, SupportedWidths], pydantic.Field(min_length=1)]
    weight_storage: WeightStorage
    activation_storage: ActivationStorage
    latency: Latency
    energy: Energy
    uncertainty: Uncertainty | None = None
    calibration: Calibration | None = None
    runtime: Runtime | None = None

    def with_runtime(self, runtime: Runtime) -> Self:
        """The device with another software stack.

        Raises:
            DeviceError: the device has no figures at the widths that the runtime runs, or has
                another runtime already.
        """
        if self.runtime is not None:
            if self.runtime == runtime:
                return self
            raise DeviceError(
                f"{self.name} cannot be given {runtime.name} too: start from the profile without "
                "a runtime"
            )
        for kind, widths in self.supports.items():
            activations = {bits for own in widths.values() for bits in own}
            if PLAIN_BITS not in widths or not activations.intersection(
                runtime.activation_bits or activations
            ):
                raise DeviceError(
                    f"{runtime.name} cannot be put on {self.name}: it needs figures for {kind} at "
                    f"{PLAIN_BITS} bits"
                )
        stack = {"name": f"{self.name} + {runtime.name}", "stack": runtime.title}
        return self.model_copy(update={**stack, "runtime": runtime})

    @property
    def usable_flash_bytes(self) -> int | None:
        """Flash left for a network; None where the size is not known."""
        size = self.memory.flash_bytes
        return None if size is None else max(0, size - self.reserve.flash_bytes)

    @property
    def widths(self) -> tuple[int, ...]:
        """Weight widths that some operator runs at, ascending."""
        return tuple(sorted({bits for widths in self.supports.values() for bits in widths}))

    def activation_widths(self, kind: LayerKind) -> tuple[int, ...]:
        """Activation widths that some weight width of this kind runs with, ascending."""
        return tuple(sorted({bits for own in self.supports[kind].values() for bits in own}))

    def latency_scale(self, kind: LayerKind) -> float:
        """The board's time over the model's, for layers of this kind; 1 if none was measured."""
        return 1.0 if self.calibration is None else self.calibration.latency_scale.get(kind, 1.0)

    @property
    def other_latency_scale(self) -> float:
        """As ``latency_scale``, of everything that is not a layer."""
        return 1.0 if self.calibration is None else self.calibration.other_latency_scale

    @property
    def energy_scale(self) -> float:
        """The board's energy over the model's; 1 if none was measured."""
        return 1.0 if self.calibration is None else self.calibration.energy_scale

    @pydantic.model_validator(mode="after")
    def _cycles_have_a_clock(self) -> Self:
        if isinstance(self.latency, CyclesModel) and self.clock is None:
            raise ValueError("latency in cycles needs a clock: add [clock] with mhz")
        return self

    @pydantic.model_validator(mode="after")
    def _figures_cover_what_is_supported(self) -> Self:
        for kind, widths in self.supports.items():
            self._require_kind(kind)
            activation_widths = self.activation_widths(kind)
            for activation_bits in activation_widths:
                asked = [w for w, inputs in widths.items() if activation_bits in inputs]
                for name, figures in self._tables(kind, activation_bits).items():
                    _require(asked, figures, name, kind)
            _require(widths, self.weight_storage.bits, "weight_storage.bits", kind)
            stored = self.activation_storage.bits
            _require(activation_widths, stored, "activation_storage.bits", kind)
        return self

    @pydantic.model_validator(mode="after")
    def _unpacked_weights_have_a_kernel(self) -> Self:
        if isinstance(self.latency, CyclesModel):
            for kind, kernel in self.latency.kernels.items():
                if kernel.unpack_first is not None and 8 not in kernel.cycles_per_mac:
                    raise ValueError(
                        f"latency.kernels.{kind}.unpack_first runs the kernel for 8 bits, but "
                        "cycles_per_mac lacks 8 bits"
                    )
        return self

    def _require_kind(self, kind: LayerKind) -> None:
        model = self.latency
        cycles = isinstance(model, CyclesModel)
        if kind not in (model.kernels if isinstance(model, CyclesModel) else model.rates):
            name = "kernels" if cycles else "rates"
            raise ValueError(f"there is no latency.{name}.{kind}, though supports.{kind} is")

    def _tables(self, kind: LayerKind, activation_bits: int) -> dict[str, Container[int]]:
        """Every table that a layer of this kind reads at its weight width, by its place."""
        tables: dict[str, Container[int]] = dict(self.latency.tables(kind, activation_bits))
        if isinstance(self.energy, OpsEnergy):
            tables["energy.pj_per_mac"] = self.energy.macs_at(activation_bits).pj_per_mac
        return tables


def _require(widths: Iterable[int], figures: Container[int], name: str, kind: LayerKind) -> None:
    missing = sorted(bits for bits in widths if bits not in figures)
    if missing:
        listed = ", ".join(map(str, missing))
        raise ValueError(f"{name} lacks {listed} bits, which supports.{kind} asks for")
