"""Networks in the formats of other programs: NIR, state dicts, C99, ONNX, chips."""
