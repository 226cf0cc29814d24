"""What a stage's command reads: layer tables, and data by flags and a run's configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sigmaquant.errors import ConfigError

if TYPE_CHECKING:
    from sigmaquant.calibration import Batch
    from sigmaquant.config import DataConfig
    from sigmaquant.layers import LayerTable
    from sigmaquant.network import Network

Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Configuration of a run, whose \\[data] section holds here too; flags override it.",
        rich_help_panel="Model and data",
    ),
]


def layer_table(network: Path) -> LayerTable:
    """The layer table of a captured network, or a table that was saved alone as JSON.

    Raises:
        ArtifactError: a file that cannot be read.
    """
    from sigmaquant.layers import LayerTable

    if network.suffix == ".json":
        return LayerTable.load(network)
    from sigmaquant.network import Network

    return Network.load(network).table


def data_settings(config: Path | None, **flags: Any) -> DataConfig:
    """The ``[data]`` section of the file, if there is one, overridden by the flags given."""
    from sigmaquant.config import RunConfig

    settings = RunConfig.load(config) if config else RunConfig()
    return settings.overridden({"data": flags}).data


def calibration_batches(network: Network, data: DataConfig) -> tuple[Batch, ...]:
    """The calibration samples, checked against the network.

    Raises:
        ConfigError: no calibration data are named.
        DataError: they cannot be read or do not fit.
    """
    from sigmaquant.calibration import read_batches

    if data.calibration is None:
        raise ConfigError("calibration data are missing: give --calibration, or --config")
    source = data.open(data.calibration)
    return read_batches(source, network, data.calibration_samples, what="calibration")
