"""Every error the user can cause, as one tree.

::

    SigmaQuantError
    ├── InputError                 exit code 2: the request cannot be carried out as given
    │   ├── UnitError              "12 kilobits" is not a size
    │   ├── ConfigError            an unknown key or option, a wrong type; names the nearest
    │   ├── DataError              empty loader, NaN, shapes that do not fit, unreadable file
    │   ├── ModelError             a model that cannot be loaded or captured
    │   ├── DeviceError            an unknown device or a profile that does not cover the network
    │   ├── ArtifactError          a saved stage result that is damaged or of another version
    │   ├── OutputError            a folder that cannot be written
    │   ├── UnsupportedError       an operator or width that a stage cannot express
    │   ├── MissingExtraError      an optional dependency is absent; names the pip command
    │   └── MissingToolError       a program is not installed; says how to install it
    ├── InfeasibleError            exit code 3: no plan meets the budgets
    ├── PeerError                  exit code 1: another process of the same launch ended or failed
    └── CheckFailedError           exit code 4: a promise did not hold
        ├── GateError              a limit such as ``--max-drop`` was exceeded
        └── VerificationError      an exported file differs from the integer reference
"""

from __future__ import annotations


class SigmaQuantError(Exception):
    """Root of all errors that SigmaQuant raises on purpose."""

    exit_code = 1


class InputError(SigmaQuantError):
    """The request cannot be carried out as given."""

    exit_code = 2


class UnitError(InputError):
    """A quantity whose text or unit cannot be understood."""


class ConfigError(InputError):
    """A configuration or profile file that does not fit its schema."""


class DataError(InputError):
    """Calibration, training or evaluation data that cannot be used."""


class ModelError(InputError):
    """A model that cannot be loaded or captured."""


class DeviceError(InputError):
    """An unknown device, or a profile that does not cover the network."""


class ArtifactError(InputError):
    """A saved stage result that is damaged, foreign or of another version."""


class OutputError(InputError):
    """A place that cannot be written to."""


class UnsupportedError(InputError):
    """An operator or a width that a stage cannot express."""


class MissingExtraError(InputError):
    """An optional dependency is not installed.

    >>> str(MissingExtraError("ONNX export", "onnx"))
    "ONNX export needs an optional dependency: pip install 'sigmaquant-edge[onnx]'"
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs an optional dependency: pip install 'sigmaquant-edge[{extra}]'"
        )
        self.what, self.extra = what, extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.what, self.extra)  # to be sent to other processes


class MissingToolError(InputError):
    """A program that is no Python package, or need not be one, is not installed."""


class InfeasibleError(SigmaQuantError):
    """No plan meets the budgets; the message names the binding one and the nearest feasible."""

    exit_code = 3


class PeerError(SigmaQuantError):
    """Another process of the same launch ended, hung, or failed in a way that is no typed error."""


class CheckFailedError(SigmaQuantError):
    """A promise did not hold."""

    exit_code = 4


class GateError(CheckFailedError):
    """A limit that the user set on the result was exceeded."""


class VerificationError(CheckFailedError):
    """An exported file does not compute what the integer reference computes."""
