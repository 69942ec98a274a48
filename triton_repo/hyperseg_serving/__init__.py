"""Triton Inference Server: a model repository generated from a bundle, started, and asked."""
