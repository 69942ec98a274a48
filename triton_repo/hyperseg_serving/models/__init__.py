"""Sources of the repository's Python models; the server runs copies of them."""
