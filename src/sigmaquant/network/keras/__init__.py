"""Keras models, read into torch modules."""

from sigmaquant.network.keras.load import import_keras, load_keras

__all__ = ["import_keras", "load_keras"]
