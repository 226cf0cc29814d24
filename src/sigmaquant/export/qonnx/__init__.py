"""Integer programs as QONNX files: float graphs in which ``Quant`` nodes round what is quantized.

An interchange format, not one to deploy: weights of 2 to 8 bits are stored as the float32 numbers
that they stand for, and every scale, zero point and width is written beside them, so that the
integers can be read back exactly. No runtime runs it; tools such as FINN and hls4ml compile it.

- ``sheet``: the graph so far, its tensors, and how a ``Quant`` node is written.
- ``functions``: which float operator a table of integers stands for.
- ``operators``: one writer for each integer operator that computes.
- ``model``: puts them together.
- ``simulation``: ``Quant`` spelled out in standard operators, which ONNX Runtime runs.
- ``comparison``: a simulated file beside the integer reference, operator by operator.
- ``verify``: reads the integers back and runs the file.
"""
