"""Integer programs as ONNX files: QDQ form, opset 13, weights packed at their true width.

ONNX Runtime turns ``DequantizeLinear -> Conv -> QuantizeLinear`` into int8 kernels, but has no
kernel for weights of 2 to 7 bits. So the file holds bit planes and standard operators that rebuild
the int8 weights; the runtime folds those at load. The file has the true size, the session is the
plain int8 one.

- ``planes``: integers to bit planes and back, in NumPy.
- ``graph``: collects nodes and constants under short names; the one module that imports onnx.
- ``weights``: the unpacking graph, once for each width.
- ``sheet``: what the writers of operators share.
- ``integers``: one writer for each integer operator.
- ``floats``: one writer for each ATen operator that can stay float; the writers themselves are in
  ``float_arithmetic``, ``float_spatial`` and ``float_shapes``, on top of ``float_call``.
- ``model``: puts them together.
- ``runtime``: runs a file; the one module that imports onnxruntime.
"""
