"""From network outputs to masks: pure functions on arrays."""
