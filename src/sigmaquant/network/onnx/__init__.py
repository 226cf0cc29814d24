"""Reads float ONNX files, opset 11 to 21, into trainable torch modules.

- ``reading``, ``external``: the file to ``records``; the one place that imports onnx. Nothing in a
  file is believed before it is checked.
- ``values``: shapes and constants, found by running each module on torch's meta device for two
  batch sizes at once, so that what follows the batch is told from what does not.
- ``operators``: one builder an operator, by family; ``call`` is what a builder sees of a node.
- ``building``: builders called one after the other; a ``torch.fx`` graph of modules, named by
  ``naming``.
- ``transposes``, ``rewrites``: several modules that are one layer become one.
- ``load``: puts them together, and decides which batch sizes the network takes.
"""

from sigmaquant.network.onnx.load import import_graph, import_onnx, load_onnx

__all__ = ["import_graph", "import_onnx", "load_onnx"]
