"""Stands for cuda-python on a machine without a GPU."""
