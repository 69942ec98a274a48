"""Images: from files and arrays to network inputs, and back to the image's own size."""
