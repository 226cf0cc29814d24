"""What the user brings, named by one string: data to read and models to build."""

from sigmaquant.data.images import ImageOptions
from sigmaquant.data.models import build_model
from sigmaquant.data.sources import DataSource, load_data
from sigmaquant.data.split import hold_back

__all__ = ["DataSource", "ImageOptions", "build_model", "hold_back", "load_data"]
