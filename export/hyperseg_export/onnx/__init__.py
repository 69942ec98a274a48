"""From modules to ONNX files: writer, weights, operators of our own, lint."""
