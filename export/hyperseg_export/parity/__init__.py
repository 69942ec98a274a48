"""Is it still the same model? Comparisons at named levels; what cannot run is said, never passed.

golden   modules and ONNX graphs against arrays of the original code
module   ONNX graphs of a bundle against our modules
"""
