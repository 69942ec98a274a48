"""Task metrics as pure functions on arrays."""
