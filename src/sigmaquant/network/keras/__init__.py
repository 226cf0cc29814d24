"""Keras models, read into torch modules."""

from sigmaquant.network.keras.load import import_keras, load_keras
from sigmaquant.network.keras.reading import input_names

__all__ = ["import_keras", "input_names", "load_keras"]
