"""Networks of recorded runs, written as NIR, C and ONNX, and runs made of foreign files."""
