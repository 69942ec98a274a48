"""From a checkpoint to a bundle: modules, graphs, ONNX, checks. Imports torch and onnx inside its parts only."""
