"""Integer programs for Qualcomm's converter: a float ONNX file, and encodings beside it.

``qairt-converter --input_network model.onnx --quantization_overrides encodings-2.0.0.json`` makes
of them what the Hexagon tensor processor (HTP) runs, given the shape of one sample with
``--source_model_input_shape``.

The encodings are in the two schemas that AIMET exports; either may be given, and both say the same.
What has none, such as the inside of a GELU, the converter leaves in float or asks data for.

- ``encodings``: how one tensor is quantized, and the two schemas.
- ``model``: the float graph and the encodings, from a QONNX model.
- ``folder``: the files.
- ``simulation``: reads the files back and quantizes what they say, for ONNX Runtime.
- ``verify``: compares that with the integer reference.
"""
