"""Integer programs as TensorFlow Lite files: int8 inside, weights of 8, 4 or 2 bits, NHWC.

The flatbuffer is written directly, without TensorFlow. What LiteRT's kernels cannot run is refused
by name before anything is written; what they run otherwise than documented was found by trying and
is kept out (``storage``, ``tolerances``).

- ``options``: what the file shall look like.
- ``storage``: in how many bits weights are stored, for which kernel.
- ``packing``: integers of 8, 4 and 2 bits in bytes.
- ``layout``: where the dimensions of a value are stored.
- ``flatfile``: the file's bytes; the one module that imports flatbuffers and LiteRT's schema.
- ``graph``: collects tensors and operators, and gives operators their versions.
- ``sheet``: what the writers of operators share.
- ``windows``: kernels that slide, and padding.
- ``layers``, ``integers``: one writer for each integer operator.
- ``floats``: one writer for each ATen operator that can stay float.
- ``model``: puts them together.
- ``runtime``: runs a file; the one module that imports LiteRT's interpreter.
- ``tolerances``: how far each kernel may be from the reference.
- ``inside``, ``verify``: compare the file with the reference.
- ``micro``, ``verify_micro``: the same for TensorFlow Lite Micro, and its tables of weights.
"""
