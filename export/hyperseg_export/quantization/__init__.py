"""Graphs in 8 and 4 bits: recipes, calibration, Q/DQ nodes, and the gate that a quantised bundle has to pass."""
