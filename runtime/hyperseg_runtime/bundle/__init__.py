"""A bundle folder: its manifest, opening and checking it, its host tables and engines."""
