"""From a bundle to the folder that Triton Inference Server loads."""
