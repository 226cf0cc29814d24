"""Builders: one ONNX node to one torch module. One file a family; ``table`` lists them all."""
