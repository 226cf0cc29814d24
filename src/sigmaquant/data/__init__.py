"""What the user brings, named by one string: data to read and models to build."""

from sigmaquant.data.images import ImageOptions
from sigmaquant.data.models import load_network
from sigmaquant.data.sources import DataSource, as_source, example_inputs, load_data
from sigmaquant.data.split import hold_back

__all__ = [
    "DataSource",
    "ImageOptions",
    "as_source",
    "example_inputs",
    "hold_back",
    "load_data",
    "load_network",
]
