"""From typed ONNX graphs to TensorRT engines. The library comes in as an argument: TensorRT or TensorRT-RTX."""
